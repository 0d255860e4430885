//! Reads expectations from a CSV file, one a line (RFC 4180).

use anyhow::{Context, Result, anyhow, bail};
use csv::{ReaderBuilder, StringRecord, Trim};
use std::path::Path;

pub(super) struct CsvLine {
    pub(super) number: usize,
    pub(super) hook: String,
    pub(super) generation: String,
    pub(super) job: String,
}

const HEADER: [&str; 3] = ["hook", "generation_id", "job"];

/// Reads the whole file, so that a wrong line stops the command before its first request.
pub(super) fn read(file: &Path) -> Result<Vec<CsvLine>> {
    let name = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|why| anyhow!("cannot read {name}: {why}. Name a CSV file with --csv"))?;
    let mut lines = Vec::new();
    for (number, text) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        let fields = fields(text).with_context(|| format!("cannot read line {number} of {name}"))?;
        match fields.iter().collect::<Vec<_>>()[..] {
            [] | [""] => {}
            [hook, generation, job] if number == 1 && [hook, generation, job] == HEADER => {}
            [hook, generation, job] => lines.push(CsvLine {
                number,
                hook: hook.to_owned(),
                generation: generation.to_owned(),
                job: job.to_owned(),
            }),
            _ => bail!("cannot read line {number} of {name}: {text:?}. Write hook,generation_id,job"),
        }
    }
    Ok(lines)
}

/// Parses one line at a time: fields have no line breaks, and `csv` alone miscounts empty lines and CRLF.
fn fields(line: &str) -> csv::Result<StringRecord> {
    let mut reader = ReaderBuilder::new();
    let mut reader = reader.has_headers(false).trim(Trim::All).from_reader(line.as_bytes());
    reader.records().next().unwrap_or_else(|| Ok(StringRecord::new()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn read_text(text: &str) -> Result<Vec<(usize, String)>, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.csv");
        fs::write(&file, text).unwrap();
        let read =
            read(&file).map_err(|error| format!("{error:#}").replace(&format!(" of {}", file.display()), ""));
        let shown = |line: CsvLine| (line.number, format!("{}|{}|{}", line.hook, line.generation, line.job));
        read.map(|lines| lines.into_iter().map(shown).collect())
    }

    #[test]
    fn reads_lines_with_their_numbers() {
        for (text, lines) in [
            ("", vec![]),
            ("a,b,c", vec![(1, "a|b|c")]),
            ("hook,generation_id,job\na,b,c\n", vec![(2, "a|b|c")]),
            ("\u{feff}hook,generation_id,job\r\na,b,c\r\nd,e,f\r\n", vec![(2, "a|b|c"), (3, "d|e|f")]),
            (" a , b ,c \n\n\n   \nd,e,f\n", vec![(1, "a|b|c"), (5, "d|e|f")]),
            ("a,b,\"order 1, \"\"blue\"\"\"\n\"d\",e,\n", vec![(1, "a|b|order 1, \"blue\""), (2, "d|e|")]),
        ] {
            let lines = lines.into_iter().map(|(number, text)| (number, text.to_owned())).collect();
            assert_eq!(read_text(text), Ok(lines), "{text:?}");
        }
    }

    #[test]
    fn refuses_other_lines() {
        for (text, error) in [
            ("a,b,c\nd,e\n", "line 2: \"d,e\""),
            ("a,b,c\r\n\r\nveo3;7;order-3\r\n", "line 3: \"veo3;7;order-3\""),
            ("a,b,c,d", "line 1: \"a,b,c,d\""),
            ("\"a,b,c", r#"line 1: "\"a,b,c""#),
        ] {
            let error = format!("cannot read {error}. Write hook,generation_id,job");
            assert_eq!(read_text(text), Err(error), "{text:?}");
        }
    }
}
