//! Random edits of shipped files: the program always ends with a report.

use super::{Files, root};
use crate::running::text;

/// A small generator, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit.max(1)
    }
}

const INSERTED: &[&str] = &[
    "*http",
    "&a ",
    "[",
    "]",
    "{",
    "}",
    ": ",
    "- ",
    "\n",
    "\t",
    "'",
    "\"",
    "|",
    ">",
    "null",
    "~",
    "-1",
    "1e9",
    "<<: *http",
    "!ignore ",
    "!!str ",
    "\u{0}",
    "\u{feff}",
    "é",
    "%",
    "# ",
    "{token}",
    "---\n",
    "any",
    "[]",
    "{}",
    "18446744073709551616",
    "::/0",
];

fn mutate(text: &str, random: &mut Random) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for _ in 0..=random.below(4) {
        let at = random.below(lines.len());
        match random.below(6) {
            0 => drop(lines.remove(at)),
            1 => {
                let line = lines[at].clone();
                lines.insert(random.below(lines.len()), line);
            }
            2 => lines.truncate(at.max(1)),
            3 => lines[at] = lines[at].trim_start().to_owned(),
            _ => {
                let mut chars: Vec<char> = lines[at].chars().collect();
                let place = random.below(chars.len() + 1);
                if random.below(2) == 0 {
                    chars.truncate(place);
                }
                let place = place.min(chars.len());
                chars.splice(place..place, INSERTED[random.below(INSERTED.len())].chars());
                lines[at] = chars.into_iter().collect();
            }
        }
    }
    lines.join("\n")
}

#[test]
fn ends_with_a_report_after_random_edits() {
    const FILES: usize = 60;
    let shipped = ["envoy.yaml", "deploy/istio/envoyfilter.yaml"];
    let mut random = Random(20_260_801);
    for name in shipped {
        let shipped = std::fs::read_to_string(root().join(name)).unwrap();
        let texts: Vec<(String, String)> =
            (0..FILES).map(|number| (format!("{number}.yaml"), mutate(&shipped, &mut random))).collect();
        let files: Vec<(&str, &str)> =
            texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
        let end = Files::new(&files).check(&names);
        assert_eq!(end.status.code(), Some(1), "{}", text(&end.stderr));
        assert_eq!(text(&end.stderr), "");
        let out = text(&end.stdout);
        let last = out.lines().last().unwrap();
        assert!(last.ends_with(" not checked") && last.contains(" errors, "), "{last}");
    }
}
