//! Patterns of addresses and ranges, as the standard library reads them, for the schema.

use crate::settings::ValueForm;

/// A group of an IPv6 address.
const GROUP: &str = "[0-9A-Fa-f]{1,4}";
const GROUPS: usize = 8;

/// A list of addresses and ranges. A pattern cannot compare an address with its range.
pub(crate) fn form() -> ValueForm {
    // ipnet reads leading zeros, up to two digits for IPv4 and three for IPv6.
    const BITS_V4: &str = "3[0-2]|[0-2]?[0-9]";
    const BITS_V6: &str = "12[0-8]|1[01][0-9]|0?[0-9]?[0-9]";
    let item = ValueForm::text(
        "an address or range such as `203.0.113.7`, `203.0.113.0/24` or `\"2001:db8::/32\"`",
        &format!("{}(?:/(?:{BITS_V4}))?|(?:{})(?:/(?:{BITS_V6}))?", v4(), v6()),
    );
    ValueForm::list(&item).written("a list of addresses and ranges")
}

fn v4() -> String {
    const BYTE: &str = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
    format!(r"{BYTE}(?:\.{BYTE}){{3}}")
}

/// Each number of groups before `::`, with fewer groups behind it than are left. The last two can be an IPv4 address.
pub(crate) fn v6() -> String {
    let v4 = v4();
    let mut forms = vec![format!("(?:{GROUP}:){{7}}{GROUP}"), format!("(?:{GROUP}:){{6}}{v4}")];
    for before in 0..GROUPS {
        let head = match before {
            0 => ":".to_owned(),
            count => format!("(?:{GROUP}:){{{count}}}"),
        };
        let left = GROUPS.saturating_sub(before).saturating_sub(1);
        forms.push(format!("{head}:"));
        if let Some(more) = left.checked_sub(1) {
            forms.push(format!("{head}:(?:{GROUP}:){{0,{more}}}{GROUP}"));
        }
        if let Some(more) = left.checked_sub(2) {
            forms.push(format!("{head}:(?:{GROUP}:){{0,{more}}}{v4}"));
        }
    }
    forms.join("|")
}
