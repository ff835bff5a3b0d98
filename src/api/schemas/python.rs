//! JSON values as Python writes them: `repr()` and `pprint.pformat(width=72, sort_dicts=False)`.
//!
//! Only for messages, which Glance makes of Python values.

use serde_json::{Map, Value};

const WIDTH: isize = 72;

/// `repr(value)`.
pub(super) fn repr(value: &Value) -> String {
    match value {
        Value::Null => "None".to_string(),
        Value::Bool(true) => "True".to_string(),
        Value::Bool(false) => "False".to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => repr_text(text),
        Value::Array(list) => {
            let items: Vec<_> = list.iter().map(repr).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(object) => {
            let items =
                object.iter().map(|(key, value)| format!("{}: {}", repr_text(key), repr(value)));
            let items: Vec<_> = items.collect();
            format!("{{{}}}", items.join(", "))
        }
    }
}

/// Single quotes unless only double ones avoid an escape.
fn repr_text(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut shown = String::with_capacity(text.len() + 2);
    shown.push(quote);
    for c in text.chars() {
        match c {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            '\\' => shown.push_str("\\\\"),
            c if c == quote => {
                shown.push('\\');
                shown.push(c);
            }
            c if !is_printable(c) => shown.push_str(&escape(c)),
            c => shown.push(c),
        }
    }
    shown.push(quote);
    shown
}

/// Nearly `str.isprintable`: what is wrong for a few rare characters is only a message.
fn is_printable(c: char) -> bool {
    c == ' '
        || !(c.is_control() || c.is_whitespace() || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}'))
}

fn escape(c: char) -> String {
    match u32::from(c) {
        code @ 0..=0xff => format!("\\x{code:02x}"),
        code @ 0x100..=0xffff => format!("\\u{code:04x}"),
        code => format!("\\U{code:08x}"),
    }
}

/// `pformat(value, width=72, sort_dicts=False)`.
pub(super) fn pretty(value: &Value) -> String {
    let mut out = String::new();
    format(value, 0, 0, 1, &mut out);
    out
}

/// `indent`: columns before it; `allowance`: columns that must stay free behind it.
fn format(value: &Value, indent: isize, allowance: isize, level: usize, out: &mut String) {
    let short = repr(value);
    if width(&short) <= WIDTH - indent - allowance {
        out.push_str(&short);
        return;
    }
    match value {
        Value::Object(object) => format_object(object, indent, allowance + 1, level, out),
        Value::Array(list) => format_list(list, indent, allowance + 1, level, out),
        Value::String(text) => format_text(text, indent, allowance, level, out),
        _ => out.push_str(&short),
    }
}

fn width(text: &str) -> isize {
    text.chars().count() as isize
}

fn new_line(indent: isize, out: &mut String) {
    out.push('\n');
    out.extend(std::iter::repeat_n(' ', indent.max(0) as usize));
}

fn format_object(
    object: &Map<String, Value>,
    indent: isize,
    allowance: isize,
    level: usize,
    out: &mut String,
) {
    out.push('{');
    for (at, (key, value)) in object.iter().enumerate() {
        if at > 0 {
            out.push(',');
            new_line(indent + 1, out);
        }
        let key = repr_text(key);
        out.push_str(&key);
        out.push_str(": ");
        let last = at + 1 == object.len();
        let allowance = if last { allowance } else { 1 };
        format(value, indent + 1 + width(&key) + 2, allowance, level + 1, out);
    }
    out.push('}');
}

fn format_list(list: &[Value], indent: isize, allowance: isize, level: usize, out: &mut String) {
    out.push('[');
    for (at, value) in list.iter().enumerate() {
        if at > 0 {
            out.push(',');
            new_line(indent + 1, out);
        }
        let last = at + 1 == list.len();
        format(value, indent + 1, if last { allowance } else { 1 }, level + 1, out);
    }
    out.push(']');
}

/// A long text is broken into several literals, at spaces and after line ends.
fn format_text(text: &str, indent: isize, allowance: isize, level: usize, out: &mut String) {
    let top = level == 1;
    let (indent, allowance) = if top { (indent + 1, allowance + 1) } else { (indent, allowance) };
    let chunks = chunks(text, WIDTH - indent, allowance);
    if let [only] = chunks.as_slice() {
        out.push_str(only);
        return;
    }
    if top {
        out.push('(');
    }
    for (at, chunk) in chunks.iter().enumerate() {
        if at > 0 {
            new_line(indent, out);
        }
        out.push_str(chunk);
    }
    if top {
        out.push(')');
    }
}

fn chunks(text: &str, room: isize, allowance: isize) -> Vec<String> {
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    let mut chunks = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let spare = if at + 1 == lines.len() { allowance } else { 0 };
        let whole = repr_text(line);
        if width(&whole) <= room - spare {
            chunks.push(whole);
        } else {
            break_line(line, room, spare, &mut chunks);
        }
    }
    chunks
}

fn break_line(line: &str, room: isize, spare: isize, chunks: &mut Vec<String>) {
    let words = words(line);
    let mut current = String::new();
    for (at, word) in words.iter().enumerate() {
        let room = if at + 1 == words.len() { room - spare } else { room };
        let longer = format!("{current}{word}");
        if width(&repr_text(&longer)) > room && !current.is_empty() {
            chunks.push(repr_text(&std::mem::replace(&mut current, word.to_string())));
        } else {
            current = longer;
        }
    }
    if !current.is_empty() {
        chunks.push(repr_text(&current));
    }
}

/// Each word with the spaces behind it: `re.findall(r'\S*\s*', line)`.
fn words(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut start = 0;
    let mut in_space = false;
    for (at, c) in line.char_indices() {
        if in_space && !c.is_whitespace() {
            words.push(&line[start..at]);
            start = at;
        }
        in_space = c.is_whitespace();
    }
    words.push(&line[start..]);
    words
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_written_as_python_does() {
        let value = json!({"a": [null, true, 1.5, "it's"], "b": "\"'\n\u{1}é"});
        assert_eq!(repr(&value), r#"{'a': [None, True, 1.5, "it's"], 'b': '"\'\n\x01é'}"#);
    }

    #[test]
    fn what_is_too_wide_is_broken_as_pprint_does() {
        let formats = json!({"type": ["null", "string"], "enum": [
            null, "ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso",
        ]});
        let text = pretty(&formats);
        assert!(
            text.starts_with("{'type': ['null', 'string'],\n 'enum': [None,\n          'ami',")
        );
        assert!(text.ends_with("'iso']}"));
    }

    #[test]
    fn a_long_text_becomes_several() {
        let text = pretty(&json!({"description": "word ".repeat(20)}));
        let lines: Vec<_> = text.lines().collect();
        assert!(lines.len() == 2 && lines.iter().all(|line| line.len() <= 73));
        assert!(lines[1].starts_with("                'word"));
        let top = pretty(&json!("word ".repeat(20)));
        assert!(top.starts_with("('word") && top.ends_with("')"));
    }
}
