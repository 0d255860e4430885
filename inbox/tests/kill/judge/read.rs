//! Reads the three logs.

use super::{LogJudge, SendAttempt, SentMessage, ServiceArrival};
use crate::load::MessageOutcome;
use crate::log::LogLine;

impl LogJudge {
    pub(super) fn read(&mut self) {
        let [sent, arrived, faults] = [0, 1, 2].map(|log| self.logs[log].lines());
        sent.into_iter().for_each(|line| self.read_sent(line));
        arrived.into_iter().for_each(|line| self.read_arrived(line));
        faults.into_iter().for_each(|line| self.read_fault(line));
    }

    fn read_sent(&mut self, line: LogLine) {
        let text = |field: usize| line.fields[field].clone();
        match line.fields[0].as_str() {
            "try" => {
                self.tries.insert(line.number(1), SendAttempt { digest: text(2), at: line.at, got: None });
                self.messages.entry(text(2)).or_insert_with(|| SentMessage {
                    stored_as: text(3),
                    expect: MessageOutcome::parse(&line.fields[6]),
                    acknowledged: None,
                });
            }
            "got" => {
                let one = self.tries.get_mut(&line.number(1)).unwrap();
                one.got = Some((line.at, text(2)));
                if line.fields[2] == "200" {
                    self.messages.get_mut(&one.digest).unwrap().acknowledged.get_or_insert(line.at);
                }
            }
            _ => {
                self.figures.unacknowledged.insert(text(1));
            }
        }
    }

    fn read_arrived(&mut self, line: LogLine) {
        let number = line.number(1);
        if line.fields[0] == "end" {
            self.arrivals.get_mut(&number).unwrap().end = Some((line.at, line.number(2)));
            return;
        }
        let text = |field: usize| line.fields[field].clone();
        let (digest, generation) = (text(3), text(4));
        if !self.messages.contains_key(&digest) || text(9) != format!("veo3:{generation}:{}", text(5)) {
            self.figures.wrong.insert(format!("{digest} arrived with another body, key or event"));
        }
        self.of_event.entry(digest.clone()).or_default().push(number);
        self.of_generation.entry(generation.clone()).or_default().push(number);
        self.fresh.insert(number);
        let arrival = ServiceArrival {
            run: line.number(2),
            digest,
            generation,
            attempt: line.fields[6].parse().unwrap_or_default(),
            supersedes: text(7),
            begin: line.at,
            end: None,
        };
        self.arrivals.insert(number, arrival);
    }

    fn read_fault(&mut self, line: LogLine) {
        match line.fields[0].as_str() {
            "died" => self.runs.entry(line.number(1)).or_default().died = Some(line.number(2)),
            "stopped" => {
                let stop = (line.number(2), line.at);
                self.runs.entry(line.number(1)).or_default().stopped.push(stop);
            }
            "away" => self.outages.push((line.number(1), line.at)),
            _ => {}
        }
    }
}
