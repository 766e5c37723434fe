//! Every value of a template passes through one of these helpers, which quotes it for the place where it lands, or refuses
//! it. A template that writes a value without a helper fails a test.

use handlebars::{
    Context, Handlebars, Helper, HelperDef, HelperResult, JsonValue, Output, RenderContext, RenderErrorReason,
};

/// Where the lines of a file stand in `cloud-config.yaml.hbs`: below `content:` in a list.
const FILE_INDENT: &str = "    ";

type Quote = fn(&str) -> Result<String, String>;

const HELPERS: [(&str, Quote); 6] = [
    ("yaml", |text| Ok(yaml(text))),
    ("file", |text| Ok(file(text))),
    ("sh", sh),
    ("sshd", |text| only(text, "._:-[]")),
    ("key", |text| only(text, "@.+/=-")),
    ("comment", comment),
];

pub fn register(handlebars: &mut Handlebars<'_>) {
    for (name, quote) in HELPERS {
        handlebars.register_helper(name, helper(name, quote));
    }
}

fn helper(name: &'static str, quote: Quote) -> Box<dyn HelperDef + Send + Sync> {
    Box::new(
        move |call: &Helper<'_>,
              _: &Handlebars<'_>,
              _: &Context,
              _: &mut RenderContext<'_, '_>,
              out: &mut dyn Output|
              -> HelperResult {
            let value = call.param(0).ok_or(RenderErrorReason::ParamNotFoundForIndex(name, 0))?;
            let text = match value.value() {
                JsonValue::String(text) => text.clone(),
                JsonValue::Number(number) => number.to_string(),
                _ => return Err(RenderErrorReason::InvalidParamType("text or number").into()),
            };
            out.write(&quote(&text).map_err(RenderErrorReason::Other)?)?;
            Ok(())
        },
    )
}

/// A double-quoted YAML scalar in ASCII. JSON's quoting is not enough: cloud-init reads YAML 1.1, which breaks lines at
/// U+0085 and U+2028 and refuses other characters.
fn yaml(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            ' '..='~' => quoted.push(c),
            _ if u32::from(c) <= 0xffff => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => quoted.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    quoted.push('"');
    quoted
}

/// The contents of a file: a literal block, which people can read, where that says exactly this text; quoted otherwise.
fn file(text: &str) -> String {
    let printable = text.bytes().all(|b| b == b'\n' || (b' '..=b'~').contains(&b));
    // A block ends with one line break, and its first line says how far it is indented.
    let shape = text.ends_with('\n') && !text.ends_with("\n\n") && !text.starts_with([' ', '\n']);
    if !(printable && shape) {
        return yaml(text);
    }
    let mut block = String::from("|");
    for line in text.lines() {
        block.push('\n');
        if !line.is_empty() {
            block.push_str(FILE_INDENT);
            block.push_str(line);
        }
    }
    block
}

/// One word of a POSIX shell.
fn sh(text: &str) -> Result<String, String> {
    if text.contains('\0') {
        return Err(unfit(text, "a shell has no NUL"));
    }
    Ok(format!("'{}'", text.replace('\'', r"'\''")))
}

/// Letters, digits and what else is named: formats in which quoting is no help, because their readers differ.
fn only(text: &str, others: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || others.contains(c);
    if text.is_empty() || !text.chars().all(fits) {
        return Err(unfit(text, &format!("only letters, digits and {others} may stand there")));
    }
    Ok(text.to_owned())
}

/// The rest of a line of authorized_keys, with the space before it.
fn comment(text: &str) -> Result<String, String> {
    if text.chars().any(char::is_control) {
        return Err(unfit(text, "a comment ends with its line and has no control characters"));
    }
    Ok(if text.is_empty() { String::new() } else { format!(" {text}") })
}

fn unfit(text: &str, why: &str) -> String {
    format!("{text:?}: {why}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn people_can_read_a_file_that_a_block_can_hold() {
        assert_eq!(file("a\n\n  b: \"c\"\n"), "|\n    a\n\n      b: \"c\"");
        assert_eq!(file(""), r#""""#);
        assert_eq!(file("no end"), r#""no end""#);
        assert_eq!(file(" indented\n"), r#"" indented\n""#);
        assert_eq!(file("a\n\n"), r#""a\n\n""#);
        assert_eq!(file("\u{85}\u{1f600}\n"), r#""\u0085\U0001f600\n""#);
    }

    #[test]
    fn a_word_stays_one_word_for_the_shell() {
        assert_eq!(sh("it's $(reboot)").unwrap(), r"'it'\''s $(reboot)'");
        assert!(sh("\0").is_err());
    }

    #[test]
    fn fields_hold_only_what_their_readers_take_literally() {
        let sshd = |text| only(text, "._:-[]");
        assert_eq!(sshd("[2001:db8::1]:5432").unwrap(), "[2001:db8::1]:5432");
        for text in ["", " ", "a b", "*", "a?", "!a", "a,b", "a\n", "\"", "#", "a=b", "é"] {
            assert!(sshd(text).is_err(), "{text:?}");
        }
        assert_eq!(comment("it's # {{x}}").unwrap(), " it's # {{x}}");
        assert_eq!(comment("").unwrap(), "");
        assert!(comment("a\nb").is_err() && comment("a\u{85}b").is_err());
    }

    proptest! {
        #[test]
        fn yaml_reads_back_what_was_written(text in prop_oneof![any::<String>(), "[ -~\n]{0,40}\n{0,2}", "\\PC*"]) {
            let document = format!("list:\n- content: {}\n  next: {}\n", file(&text), yaml(&text));
            let read: serde_json::Value = serde_yaml::from_str(&document).unwrap();
            prop_assert_eq!(read, serde_json::json!({"list": [{"content": text, "next": text}]}));
        }
    }
}
