//! The story for a terminal.

use crate::inbox::client::{command_with, sentence_with};
use crate::output::{escape, print_styled};
use crate::paint::Paint;
use blobgate_inbox::service::{
    ComparedVerdict, GenerationStory, StatusNow, StoryAnswer, StoryEvent, StoryLine, StoryRequest, StoryStep,
};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Prints the stories, the answer of the status API and the next steps.
pub(super) fn print(request: &StoryRequest, answer: &StoryAnswer, options: &str) {
    print_styled(
        &StoryPage { paint: Paint::on_stdout(), options, lines: Vec::new() }.page(request, answer).join("\n"),
    );
}

struct StoryPage<'a> {
    paint: Paint,
    /// The options of the admin listener, for the commands.
    options: &'a str,
    lines: Vec<String>,
}

impl StoryPage<'_> {
    fn page(mut self, request: &StoryRequest, answer: &StoryAnswer) -> Vec<String> {
        let mut status = answer.status_api.as_ref();
        for story in &answer.stories {
            self.story(story, &answer.now);
            self.status(status.take());
            self.steps(&story.next);
        }
        if answer.stories.is_empty() {
            let head = format!("{} is not in the inbox", subject(request));
            self.lines.push(self.paint.bold(&head));
            self.lines.push(String::new());
            self.status(status.take());
            self.steps(&answer.next);
        }
        if answer.more > 0 {
            let more = format!("and {} more that match: `blobgate inbox ls` lists entries", answer.more);
            self.lines.push(sentence_with(self.options, &more));
        }
        // Each part ends with an empty line.
        while self.lines.last().is_some_and(String::is_empty) {
            self.lines.pop();
        }
        self.lines
    }

    fn story(&mut self, story: &GenerationStory, now: &str) {
        let job = story.job.as_deref().map(|job| format!(", job {job}")).unwrap_or_default();
        let (hook, state) = (&story.hook, &story.state);
        let head = match (&story.generation, story.lines.iter().find_map(|line| line.entry)) {
            (Some(generation), _) => format!("{generation} of hook {hook}{job}: {state}"),
            (None, Some(entry)) => {
                format!("entry {entry} of hook {hook}, without a generation{job}: {state}")
            }
            (None, None) => format!("hook {hook}{job}: {state}"),
        };
        self.lines.push(self.paint.bold(&head));
        let started = story.lines.iter().find_map(|line| line.at.as_deref());
        for line in &story.lines {
            self.event(line, started, now);
        }
        if story.more_entries > 0 {
            let more = format!("  and {} more entries of this generation", story.more_entries);
            self.lines.push(self.paint.dim(&more));
        }
        self.lines.push(String::new());
    }

    fn event(&mut self, line: &StoryLine, started: Option<&str>, now: &str) {
        const TIME: usize = 24;
        const DISTANCE: usize = 9;
        let at = line.at.as_deref().unwrap_or("-");
        let distance = line.at.as_deref().zip(started).and_then(|(at, started)| distance(started, at));
        // Times of one length sort as text.
        let is_to_come = line.at.as_deref().is_some_and(|at| at > now);
        let text = if is_to_come { self.paint.dim(&line.text) } else { self.event_text(line) };
        let times = format!("  {at:TIME$}  {:>DISTANCE$}  ", distance.unwrap_or_default());
        self.lines.push(format!("{}{text}", self.paint.dim(&times)));
        if let Some(remedy) = &line.remedy {
            let indent = " ".repeat(times.len());
            let remedy = sentence_with(self.options, remedy);
            self.lines.push(format!("{indent}{}", self.paint.dim(&remedy)));
        }
    }

    fn status(&mut self, status: Option<&StatusNow>) {
        let Some(status) = status else { return };
        self.lines.push(self.paint.bold("status API now"));
        self.lines.push(format!("  {}", escape(&sentence_with(self.options, &status.text))));
        for compared in &status.compared {
            let verdict = match compared.verdict {
                ComparedVerdict::Confirmed => self.paint.green("confirmed"),
                ComparedVerdict::Contradicted => self.paint.red("contradicted"),
                ComparedVerdict::SameEvent => self.paint.green("the same event; its body is deleted"),
                ComparedVerdict::Unreadable => {
                    self.paint.yellow("not comparable: its body is no valid event")
                }
            };
            let line = format!("  entry {}: {verdict}", compared.entry);
            self.lines.push(line);
        }
        self.lines.push(String::new());
    }

    fn steps(&mut self, steps: &[StoryStep]) {
        self.lines.push(self.paint.bold("next"));
        steps.iter().for_each(|step| self.step(step));
        self.lines.push(String::new());
    }

    fn step(&mut self, step: &StoryStep) {
        self.lines.push(format!("  {}", escape(&sentence_with(self.options, &step.why))));
        if let Some(command) = &step.command {
            let command = command_with(self.options, command);
            self.lines.push(self.paint.bold(&format!("    {command}")));
        }
    }

    fn event_text(&self, line: &StoryLine) -> String {
        match line.what {
            StoryEvent::Delivered => self.paint.green(&line.text),
            StoryEvent::Overdue | StoryEvent::Dead | StoryEvent::JobMismatch | StoryEvent::RouteFails => {
                self.paint.red(&line.text)
            }
            StoryEvent::Quarantined | StoryEvent::Attempt | StoryEvent::Paused | StoryEvent::Dropped => {
                self.paint.yellow(&line.text)
            }
            _ => escape(&line.text).into_owned(),
        }
    }
}

fn subject(request: &StoryRequest) -> String {
    let hook = request.hook.as_deref().map(|hook| format!(" of hook {hook}")).unwrap_or_default();
    let subject = match request {
        StoryRequest { generation: Some(generation), .. } => format!("generation {generation}"),
        StoryRequest { job: Some(job), .. } => format!("job {job}"),
        StoryRequest { request_id: Some(id), .. } => format!("request {id}"),
        StoryRequest { entry, .. } => format!("entry {}", entry.unwrap_or_default()),
    };
    format!("{subject}{hook}")
}

/// The time between two moments, in up to two units: `+13m`, `+2h 5m`.
fn distance(from: &str, to: &str) -> Option<String> {
    let read = |text| OffsetDateTime::parse(text, &Rfc3339).ok();
    let nanos = read(to)?.unix_timestamp_nanos().checked_sub(read(from)?.unix_timestamp_nanos())?;
    let millis = u64::try_from(nanos.checked_div(1_000_000)?).ok()?;
    let span = match millis {
        0 => return None,
        1..10_000 => std::time::Duration::from_millis(millis),
        _ => std::time::Duration::from_secs(millis.checked_div(1_000)?),
    };
    let text = humantime::format_duration(span).to_string();
    // Two units are enough.
    Some(format!("+{}", text.split(' ').take(2).collect::<Vec<_>>().join(" ")))
}
