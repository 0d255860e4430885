//! Failpoints, at which a test makes the process die, wait or do the wrong thing. Without the feature `failpoints` they expand to
//! nothing.

/// Reads `FAILPOINTS` once.
#[cfg(feature = "failpoints")]
pub(crate) fn read_env() {
    static READ: std::sync::Once = std::sync::Once::new();
    // Dropping the scenario would remove the failpoints.
    READ.call_once(|| std::mem::forget(fail::FailScenario::setup()));
}

/// A duration that `FAILPOINTS` can replace, with `NAME=return(SECONDS)`.
#[cfg(feature = "failpoints")]
macro_rules! time_of {
    ($name:literal, $usual:expr) => {{
        fn set(usual: std::time::Duration) -> std::time::Duration {
            fail::fail_point!($name, |seconds| {
                let seconds = seconds.and_then(|seconds| seconds.parse().ok());
                seconds.map_or(usual, std::time::Duration::from_secs)
            });
            usual
        }
        set($usual)
    }};
}

/// Aborts the process here, like `kill -9`, if `FAILPOINTS` contains `NAME=return`, with the options of the crate `fail`.
#[cfg(feature = "failpoints")]
macro_rules! die_at {
    ($name:literal) => {
        fail::fail_point!($name, |_| {
            eprintln!("failpoint {}", $name);
            std::process::abort()
        })
    };
}

#[cfg(not(feature = "failpoints"))]
macro_rules! die_at {
    ($name:literal) => {};
}

/// Whether `FAILPOINTS` contains this wrong behaviour.
#[cfg(feature = "failpoints")]
macro_rules! broken_by {
    ($name:literal) => {{
        fn set() -> bool {
            fail::fail_point!($name, |_| true);
            false
        }
        set()
    }};
}

#[cfg(not(feature = "failpoints"))]
macro_rules! time_of {
    ($name:literal, $usual:expr) => {
        $usual
    };
}

#[cfg(feature = "failpoints")]
pub(crate) use broken_by;
pub(crate) use {die_at, time_of};
