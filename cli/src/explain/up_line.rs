//! The lines of `blobgate up` for a person: a time, a part, and the part's text in a shorter form.

use blobgate::Reason;

/// A line that only `up` writes in this form. The gate's own lines contain `verdict=`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum UpLine<'a> {
    /// The inbox's message.
    Inbox(&'a str),
    /// A line of the access log: its fields without a name, and the text of the others.
    Access { fields: Vec<(&'static str, &'a str)>, rest: &'a str },
}

impl<'a> UpLine<'a> {
    pub(super) fn parse(line: &'a str) -> Option<Self> {
        let text = |part: &str| {
            let (before, text) = line.split_once(part)?;
            // A program such as journald writes a prefix. A JSON line may quote this form.
            let time = before.rsplit(' ').next()?;
            (is_time(time) && !before.contains('{')).then_some(text)
        };
        if let Some(text) = text("  inbox     ") {
            let message = ["warning: ", "error: "].iter().find_map(|level| text.strip_prefix(level));
            return Some(Self::Inbox(message.unwrap_or(text)));
        }
        access(text("  gate      ")?)
    }
}

fn is_time(text: &str) -> bool {
    const FORM: &str = "0000-00-00T00:00:00Z";
    text.len() == FORM.len()
        && text.bytes().zip(FORM.bytes()).all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            _ => byte == form,
        })
}

/// `ACTION EVENT GENERATION hook=...`, or Envoy's own answer.
fn access(text: &str) -> Option<UpLine<'_>> {
    if let Some(rest) = text.strip_prefix("answered ") {
        let (status, rest) = rest.split_once([' ', ':'])?;
        let mut fields = vec![("status", status)];
        if rest.starts_with(" no hook has this path") {
            fields.push(("reason", Reason::UnknownHook.code()));
        }
        return status.bytes().all(|byte| byte.is_ascii_digit()).then_some(UpLine::Access { fields, rest });
    }
    let (verdict, event) = [
        ("accepted ", "accepted"),
        ("observed ", "observed"),
        ("delivered ", "accepted"),
        ("not delivered ", "accepted"),
    ]
    .iter()
    .find_map(|(action, verdict)| Some((*verdict, text.strip_prefix(action)?)))?;
    let (event, rest) = event.split_once(' ')?;
    let (id, rest) = rest.split_once(' ')?;
    let is_event = rest.starts_with("hook=");
    let fields = vec![("verdict", verdict), ("event", event), ("generation_id", id)];
    is_event.then_some(UpLine::Access { fields, rest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_form_of_up_alone() {
        let time = "2026-11-30T12:00:00Z";
        let inbox = format!("{time}  inbox     warning: quarantined reason=token-conflict");
        assert_eq!(UpLine::parse(&inbox), Some(UpLine::Inbox("quarantined reason=token-conflict")));
        let journal = format!("Nov 30 12:00:00 host blobgate[7]: {inbox}");
        assert_eq!(UpLine::parse(&journal), UpLine::parse(&inbox));
        let info = format!("{time}  inbox     inbox listens on http://[::1]:1");
        assert_eq!(UpLine::parse(&info), Some(UpLine::Inbox("inbox listens on http://[::1]:1")));
        let attempt = format!("{time}  gate      not delivered failed id-1 hook=veo3 attempt=2 status=404");
        let fields = vec![("verdict", "accepted"), ("event", "failed"), ("generation_id", "id-1")];
        let rest = "hook=veo3 attempt=2 status=404";
        assert_eq!(UpLine::parse(&attempt), Some(UpLine::Access { fields, rest }));
        for other in [
            format!("10:00:00  inbox     {inbox:.5}"),
            format!("{{\"a\": \"{inbox}\"}}"),
            format!("{time}  blobgate  inbox has ended"),
            format!("{time}  gate      warning: accepted completed id-1 hook=veo3"),
            format!("{time}  gate      accepted "),
            format!("{time}  gate      answered x details=y"),
            format!("{time}-  inbox     quarantined"),
        ] {
            assert_eq!(UpLine::parse(&other), None, "{other}");
        }
    }
}
