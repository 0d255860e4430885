/* Preloaded into PostgreSQL: makes fsync and fdatasync a millisecond slower. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>

static void wait_a_millisecond(void) {
    struct timespec millisecond = {0, 1000000};
    nanosleep(&millisecond, 0);
}

int fsync(int fd) {
    wait_a_millisecond();
    return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd);
}

int fdatasync(int fd) {
    wait_a_millisecond();
    return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd);
}
