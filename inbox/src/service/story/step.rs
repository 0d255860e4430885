//! The two forms of a next step.

use super::StoryStep;

/// A step with a command to run.
pub(super) fn run(why: impl Into<String>, command: impl Into<String>) -> StoryStep {
    StoryStep { why: why.into(), command: Some(command.into()) }
}

/// A step without a command.
pub(super) fn say(why: impl Into<String>) -> StoryStep {
    StoryStep { why: why.into(), command: None }
}
