//! Places where a test has the process die, wait or do the wrong thing. Without the feature `failpoints` they are nothing.

/// Has `FAILPOINTS` read, once: without it the variable does nothing.
#[cfg(feature = "failpoints")]
pub(crate) fn read_env() {
    static READ: std::sync::Once = std::sync::Once::new();
    // Its end would take the failpoints away again.
    READ.call_once(|| std::mem::forget(fail::FailScenario::setup()));
}

/// Where `FAILPOINTS` says `NAME=return(SECONDS)`, those instead of the usual time.
#[cfg(feature = "failpoints")]
macro_rules! time_of {
    ($name:literal, $usual:expr) => {{
        fn asked(usual: std::time::Duration) -> std::time::Duration {
            fail::fail_point!($name, |seconds| {
                let seconds = seconds.and_then(|seconds| seconds.parse().ok());
                seconds.map_or(usual, std::time::Duration::from_secs)
            });
            usual
        }
        asked($usual)
    }};
}

/// Dies here, as by `kill -9`, where `FAILPOINTS` says `NAME=return`, after the arguments of the crate `fail`.
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

/// Whether a test has asked for this wrong behaviour.
#[cfg(feature = "failpoints")]
macro_rules! broken_by {
    ($name:literal) => {{
        fn asked() -> bool {
            fail::fail_point!($name, |_| true);
            false
        }
        asked()
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
