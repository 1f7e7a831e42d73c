// SPDX-License-Identifier: GPL-2.0

//! A record as a line: of JSON for programs, in columns for people.

use std::fmt::{self, Write};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Kind, Outcome, Place, Record};
use crate::model::Blocked;

/// A record, as it is written. What makes no sense for its kind is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Nanoseconds since the process began to serve.
    pub time: u64,
    /// What kind of transaction.
    pub kind: Kind,
    /// The link.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub link: String,
    /// Whose transaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The number of the window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<usize>,
    /// Offset in the window, in BAR 0 or in configuration space, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "hex")]
    pub offset: Option<u64>,
    /// What the register is called, if the model has a name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub register: Option<String>,
    /// The interrupt vector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vector: Option<u32>,
    /// What happened to the link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// Address in the peer, or in the host itself for what it maps, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "hex")]
    pub address: Option<u64>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// The first 8 bytes of the data in their order, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// What became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Why it went nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Nanoseconds until it was done, if not at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took: Option<u64>,
    /// How many records are missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Links that are watched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<String>,
    /// Windows of these whose accesses are not seen, since they do not come by here: link, host, window.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unseen: Vec<(String, String, usize)>,
}

impl Line {
    /// A line with nothing but its kind.
    pub fn of(kind: Kind) -> Self {
        Self {
            time: nanoseconds(super::uptime()),
            kind,
            link: String::new(),
            host: None,
            window: None,
            offset: None,
            register: None,
            vector: None,
            event: None,
            address: None,
            length: None,
            data: None,
            outcome: None,
            why: None,
            took: None,
            count: None,
            links: Vec::new(),
            unseen: Vec::new(),
        }
    }
}

impl From<&Record> for Line {
    fn from(record: &Record) -> Self {
        let mut line = Self {
            time: nanoseconds(record.time),
            link: record.names.link.clone(),
            host: record.side.map(|side| record.names.hosts[side].clone()),
            address: record.address,
            length: Some(record.length).filter(|length| *length > 0),
            data: bytes(record),
            outcome: Some(record.outcome),
            why: record.why.map(|why| reason(why).to_owned()),
            took: record.took.map(nanoseconds),
            ..Self::of(record.kind)
        };
        match record.place {
            Place::None => {}
            Place::Window { number, offset } => {
                line.window = Some(number);
                line.offset = Some(offset);
            }
            Place::Register { offset, name } => {
                line.offset = Some(offset);
                line.register = name.map(Into::into);
            }
            Place::Config { offset } => line.offset = Some(offset),
            Place::Vector(vector) => line.vector = Some(vector),
            Place::Event(event) => line.event = Some(event.into()),
        }
        line
    }
}

fn bytes(record: &Record) -> Option<String> {
    let (bytes, count) = &record.data;
    let mut text = String::new();
    for byte in bytes.get(..*count)? {
        // A string takes whatever is written.
        let _ = write!(text, "{byte:02x}");
    }
    Some(text).filter(|text| !text.is_empty())
}

fn reason(why: Blocked) -> &'static str {
    match why {
        Blocked::NoLink => "no link",
        Blocked::Closed => "the window is closed there",
        Blocked::Address => "beyond the end of the address space",
        Blocked::NotMaster => "the peer's function is not bus master",
        Blocked::Requester => "nobody has been let through by name",
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, rest) = (self.time / 1_000_000_000, self.time % 1_000_000_000);
        write!(f, "{seconds:5}.{:06}", rest / 1000)?;
        match self.kind {
            Kind::Start => {
                write!(f, " watching {}", self.links.join(", "))?;
                for (link, host, window) in &self.unseen {
                    write!(
                        f,
                        "; window {window} of {host} at {link} is direct and not seen"
                    )?;
                }
                return Ok(());
            }
            Kind::Dropped => return write!(f, " {} records missing", self.count.unwrap_or(0)),
            _ => {}
        }
        let kind = serde_json::to_value(self.kind).unwrap_or_default();
        let kind = kind.as_str().unwrap_or_default().replace('_', " ");
        let host = self.host.as_deref().unwrap_or("-");
        write!(f, " {:<6} {host:<10} {kind:<14}", self.link)?;
        let mut place = String::new();
        match (self.window, self.offset, &self.register) {
            (Some(window), Some(offset), _) => write!(place, "window {window} {offset:#x}")?,
            (_, Some(offset), Some(register)) => write!(place, "{register} {offset:#x}")?,
            (_, Some(offset), None) => write!(place, "{offset:#x}")?,
            _ => {}
        }
        if let Some(vector) = self.vector {
            write!(place, "vector {vector}")?;
        }
        if let Some(event) = &self.event {
            place.push_str(event);
        }
        write!(f, " {place:<22}")?;
        match self.address {
            Some(address) => write!(f, " {address:>#18x}")?,
            None => write!(f, " {:18}", "")?,
        }
        match self.length {
            Some(length) => write!(f, " {length:>5}")?,
            None => write!(f, " {:5}", "")?,
        }
        write!(f, " {:<16}", self.data.as_deref().unwrap_or(""))?;
        if let Some(outcome) = self.outcome {
            let outcome = serde_json::to_value(outcome).unwrap_or_default();
            write!(
                f,
                " {}",
                outcome.as_str().unwrap_or_default().replace('_', " ")
            )?;
        }
        if let Some(why) = &self.why {
            write!(f, ": {why}")?;
        }
        if let Some(took) = self.took {
            write!(f, ", {:?}", Duration::from_nanos(took))?;
        }
        Ok(())
    }
}

mod hex {
    use serde::{de::Error, Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        value: &Option<u64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(&format_args!("{value:#x}")),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<u64>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else {
            return Ok(None);
        };
        let digits = text
            .strip_prefix("0x")
            .ok_or_else(|| Error::custom(format!("'{text}' does not begin with 0x")))?;
        u64::from_str_radix(digits, 16)
            .map(Some)
            .map_err(Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::side::{PerSide, Side};
    use crate::trace::Names;

    fn record(kind: Kind, outcome: Outcome) -> Record {
        let names = Names {
            link: "ntb0".into(),
            hosts: PerSide(["lender".into(), "borrower".into()]),
        };
        Record {
            time: Duration::new(1, 2345),
            ..Record::new(names.into(), Some(Side::Secondary), kind, outcome)
        }
    }

    fn both(record: &Record) -> (String, String) {
        let line = Line::from(record);
        let json = serde_json::to_string(&line).unwrap();
        assert_eq!(serde_json::from_str::<Line>(&json).unwrap(), line);
        (json, line.to_string())
    }

    #[test]
    fn a_write_through_a_window() {
        let mut record = record(Kind::Write, Outcome::Device);
        record.place = Place::Window {
            number: 1,
            offset: 0x1008,
        };
        record.address = Some(0xfeb0_1008);
        record.set_data(&[1, 0, 0, 0xff]);
        let (json, text) = both(&record);
        assert_eq!(
            json,
            r#"{"time":1000002345,"kind":"write","link":"ntb0","host":"borrower","window":1,"offset":"0x1008","address":"0xfeb01008","length":4,"data":"010000ff","outcome":"device"}"#
        );
        assert_eq!(
            text,
            "    1.000002 ntb0   borrower   write          window 1 0x1008                0xfeb01008     4 010000ff         device"
        );
    }

    #[test]
    fn a_read_that_goes_nowhere() {
        let mut record = record(Kind::Read, Outcome::Blocked);
        record.place = Place::Window {
            number: 0,
            offset: 0,
        };
        record.why = Some(Blocked::NoLink);
        record.length = 8;
        let (json, text) = both(&record);
        assert_eq!(
            json,
            r#"{"time":1000002345,"kind":"read","link":"ntb0","host":"borrower","window":0,"offset":"0x0","length":8,"outcome":"blocked","why":"no link"}"#
        );
        assert!(text.ends_with("blocked: no link"), "{text}");
    }

    #[test]
    fn a_doorbell_that_took_a_while() {
        let mut record = record(Kind::Doorbell, Outcome::Done);
        record.place = Place::Register {
            offset: 0x454,
            name: Some("DBREQ"),
        };
        record.took = Some(Duration::from_micros(1500));
        record.set_data(&[2, 0]);
        let (json, text) = both(&record);
        assert_eq!(
            json,
            r#"{"time":1000002345,"kind":"doorbell","link":"ntb0","host":"borrower","offset":"0x454","register":"DBREQ","length":2,"data":"0200","outcome":"done","took":1500000}"#
        );
        assert!(text.contains("DBREQ 0x454"), "{text}");
        assert!(text.ends_with("done, 1.5ms"), "{text}");
    }

    #[test]
    fn what_is_not_a_transaction() {
        let mut line = Line::of(Kind::Dropped);
        line.count = Some(3);
        assert!(line.to_string().ends_with("3 records missing"));
        let mut line = Line::of(Kind::Start);
        line.links = vec!["ab".into(), "bc".into()];
        line.unseen = vec![("bc".into(), "c".into(), 2)];
        let text = line.to_string();
        assert!(
            text.ends_with("watching ab, bc; window 2 of c at bc is direct and not seen"),
            "{text}"
        );
        let json = serde_json::to_string(&line).unwrap();
        assert_eq!(serde_json::from_str::<Line>(&json).unwrap(), line);
    }
}
