//! Places where a test has the process die, wait or do the wrong thing. Without the feature `failpoints` they are nothing.

/// Has `FAILPOINTS` read, once: without it the variable does nothing.
#[cfg(feature = "failpoints")]
pub(crate) fn read_env() {
    static READ: std::sync::Once = std::sync::Once::new();
    // Its end would take the failpoints away again.
    READ.call_once(|| std::mem::forget(fail::FailScenario::setup()));
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
macro_rules! broken_by {
    ($name:literal) => {{
        const fn asked() -> bool {
            false
        }
        asked()
    }};
}

pub(crate) use {broken_by, die_at};
