//! The language of `policy.yaml`, as oslo.policy has it: a rule's text becomes a [`Check`].
//!
//! What a check is held against is up to [`super::Policy`], which rules there are is in [`super::rules`].
//! oslo.policy takes a rule that it cannot read for one that is never met, and says so in its log;
//! here such a text is an error, which names what is wrong with it.

/// What has to hold.  `R` is how another rule is named: by its name, or once all rules are known,
/// by its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check<R> {
    /// `@`, or nothing at all.
    Always,
    /// `!`
    Never,
    /// `role:NAME`: the identity has the role.
    Role(Text),
    /// `rule:NAME`
    Rule(R),
    /// `NAME:TEXT`: something known of the identity is that text.
    Credential(String, Text),
    /// `'word':TEXT`, `True:TEXT`: the text is that very word.
    Literal(String, Text),
    /// `not …`
    Not(Box<Self>),
    /// `… and …`
    All(Vec<Self>),
    /// `… or …`
    Any(Vec<Self>),
}

/// Text with `%(name)s` in it, which stand for what is acted on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(pub(super) Vec<Part>);

/// A piece of a [`Text`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Word(String),
    Field(String),
}

/// How deep parentheses may go: more is a mistake, and would need as much stack.
const DEEPEST: usize = 64;

/// Reads a rule.
///
/// # Errors
/// What is wrong with it, for whoever wrote it.
pub fn parse(rule: &str) -> Result<Check<String>, String> {
    if rule.is_empty() {
        return Ok(Check::Always);
    }
    let mut tokens = Tokens { rest: tokens(rule), depth: 0 };
    let check = tokens.any()?;
    match tokens.rest.pop() {
        None => Ok(check),
        Some(Token::Close) => Err("a ')' too many".to_string()),
        Some(_) => Err("'and' or 'or' is missing between two checks".to_string()),
    }
}

/// Reads a rule of the old form: one of these lists, all checks of it.
///
/// # Errors
/// As [`parse`].
pub fn parse_lists(lists: &[Vec<String>]) -> Result<Check<String>, String> {
    if lists.is_empty() {
        return Ok(Check::Always);
    }
    let alternatives = lists.iter().filter(|checks| !checks.is_empty()).map(|checks| {
        let checks: Result<Vec<_>, _> = checks.iter().map(|check| one(check)).collect();
        checks.map(Check::All)
    });
    Ok(Check::Any(alternatives.collect::<Result<_, _>>()?))
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Open,
    Close,
    And,
    Or,
    Not,
    Check(String),
}

/// The tokens in reverse, so that the next one is popped.  White space separates; parentheses
/// stand at a word's beginning or end (within it, `%(name)s` has some, too).
fn tokens(rule: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    for word in rule.split_whitespace() {
        let inner = word.trim_start_matches('(');
        tokens.extend(std::iter::repeat_n(Token::Open, word.len() - inner.len()));
        let check = inner.trim_end_matches(')');
        match check.to_ascii_lowercase().as_str() {
            "" => {}
            "and" => tokens.push(Token::And),
            "or" => tokens.push(Token::Or),
            "not" => tokens.push(Token::Not),
            _ => tokens.push(Token::Check(check.to_string())),
        }
        tokens.extend(std::iter::repeat_n(Token::Close, inner.len() - check.len()));
    }
    tokens.reverse();
    tokens
}

struct Tokens {
    rest: Vec<Token>,
    depth: usize,
}

impl Tokens {
    /// `and` binds tighter than `or`.
    fn any(&mut self) -> Result<Check<String>, String> {
        let mut checks = vec![self.all()?];
        while self.take(&Token::Or) {
            checks.push(self.all()?);
        }
        Ok(single_or(checks, Check::Any))
    }

    fn all(&mut self) -> Result<Check<String>, String> {
        let mut checks = vec![self.check()?];
        while self.take(&Token::And) {
            checks.push(self.check()?);
        }
        Ok(single_or(checks, Check::All))
    }

    fn check(&mut self) -> Result<Check<String>, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err("its parentheses go too deep".to_string());
        }
        let check = match self.rest.pop() {
            Some(Token::Check(text)) => one(&text),
            Some(Token::Not) => Ok(Check::Not(Box::new(self.check()?))),
            Some(Token::Open) => {
                let check = self.any()?;
                self.take(&Token::Close).then_some(check).ok_or_else(|| "a ')' is missing".into())
            }
            Some(Token::Close) => Err("a ')' stands where a check should".to_string()),
            Some(Token::And | Token::Or) => Err("'and' or 'or' has nothing before it".to_string()),
            None => Err("it ends where a check should follow".to_string()),
        };
        self.depth -= 1;
        check
    }

    fn take(&mut self, token: &Token) -> bool {
        let there = self.rest.last() == Some(token);
        if there {
            self.rest.pop();
        }
        there
    }
}

fn single_or(
    mut checks: Vec<Check<String>>,
    several: fn(Vec<Check<String>>) -> Check<String>,
) -> Check<String> {
    match checks.len() {
        1 => checks.remove(0),
        _ => several(checks),
    }
}

/// A check without operators.
fn one(text: &str) -> Result<Check<String>, String> {
    match text {
        "@" => return Ok(Check::Always),
        "!" => return Ok(Check::Never),
        _ => {}
    }
    let (kind, what) = text.split_once(':').ok_or_else(|| {
        format!("'{text}' is no check: write kind:value, such as role:admin, or @ or !")
    })?;
    match kind {
        "rule" => Ok(Check::Rule(what.to_string())),
        "role" => Ok(Check::Role(text_of(what)?)),
        "http" | "https" => Err(format!(
            "'{kind}:' asks another server for each decision, which glancefs does not do: say who \
             is allowed by roles and projects"
        )),
        _ => match literal(kind)? {
            Some(word) => Ok(Check::Literal(word, text_of(what)?)),
            None => Ok(Check::Credential(kind.to_string(), text_of(what)?)),
        },
    }
}

/// What stands before a colon as Python would print it, if it is a value and no name.
fn literal(kind: &str) -> Result<Option<String>, String> {
    if let quote @ ('\'' | '"') = kind.chars().next().unwrap_or_default() {
        let inner = kind.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
        return match inner {
            Some(word) if !word.contains([quote, '\\']) => Ok(Some(word.to_string())),
            _ => Err(format!("the quotes of {kind} do not match")),
        };
    }
    let word = matches!(kind, "True" | "False" | "None");
    let number = kind.parse::<i64>().is_ok_and(|number| number.to_string() == kind);
    if word || number {
        return Ok(Some(kind.to_string()));
    }
    let named = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-');
    if kind.is_empty() || !kind.chars().all(named) {
        return Err(format!("'{kind}:' is no kind of check"));
    }
    Ok(None)
}

/// Python's `%` with names: `%(name)s`, and `%%` for a percent sign.
fn text_of(text: &str) -> Result<Text, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        if !before.is_empty() {
            parts.push(Part::Word(before.to_string()));
        }
        if let Some(after) = after.strip_prefix('%') {
            parts.push(Part::Word("%".to_string()));
            rest = after;
            continue;
        }
        let field = after.strip_prefix('(').and_then(|after| after.split_once(")s"));
        let (name, after) =
            field.ok_or_else(|| format!("'%' in '{text}' must begin %(name)s, or be %%"))?;
        parts.push(Part::Field(name.to_string()));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Word(rest.to_string()));
    }
    Ok(Text(parts))
}

impl<R> Check<R> {
    /// The same check with its rules named otherwise.
    ///
    /// # Errors
    /// The first that `name` gives.
    pub(super) fn link<S, E>(
        self,
        name: &mut impl FnMut(R) -> Result<S, E>,
    ) -> Result<Check<S>, E> {
        let mut each = |checks: Vec<Self>| {
            checks.into_iter().map(|check| check.link(name)).collect::<Result<_, E>>()
        };
        Ok(match self {
            Self::Always => Check::Always,
            Self::Never => Check::Never,
            Self::Role(text) => Check::Role(text),
            Self::Credential(kind, text) => Check::Credential(kind, text),
            Self::Literal(word, text) => Check::Literal(word, text),
            Self::All(checks) => Check::All(each(checks)?),
            Self::Any(checks) => Check::Any(each(checks)?),
            Self::Not(check) => Check::Not(Box::new(check.link(name)?)),
            Self::Rule(rule) => Check::Rule(name(rule)?),
        })
    }

    /// Shows `seen` every check that this one is made of, itself first.
    pub(super) fn visit<'c>(&'c self, seen: &mut impl FnMut(&'c Self)) {
        seen(self);
        match self {
            Self::Not(check) => check.visit(seen),
            Self::All(checks) | Self::Any(checks) => {
                checks.iter().for_each(|check| check.visit(seen));
            }
            _ => {}
        }
    }

    /// The names in `%(name)s` of this check alone.
    pub(super) fn fields(&self) -> impl Iterator<Item = &str> {
        let text = match self {
            Self::Role(text) | Self::Credential(_, text) | Self::Literal(_, text) => Some(text),
            _ => None,
        };
        text.into_iter().flat_map(|text| &text.0).filter_map(|part| match part {
            Part::Field(name) => Some(name.as_str()),
            Part::Word(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str) -> Check<String> {
        Check::Rule(name.to_string())
    }

    #[test]
    fn and_binds_tighter_than_or_and_not_tightest() {
        assert_eq!(
            parse("rule:a or rule:b and not rule:c").unwrap(),
            Check::Any(vec![
                rule("a"),
                Check::All(vec![rule("b"), Check::Not(Box::new(rule("c")))])
            ])
        );
        assert_eq!(
            parse("((rule:a OR rule:b) And rule:c)").unwrap(),
            Check::All(vec![Check::Any(vec![rule("a"), rule("b")]), rule("c")])
        );
    }

    #[test]
    fn nothing_at_all_allows_everybody() {
        for text in ["", "@"] {
            assert_eq!(parse(text), Ok(Check::Always));
        }
        assert_eq!(parse("!"), Ok(Check::Never));
        assert_eq!(parse_lists(&[]), Ok(Check::Always));
        assert_eq!(parse_lists(&[Vec::new()]), Ok(Check::Any(Vec::new())), "nobody: as in oslo");
    }

    #[test]
    fn parentheses_of_a_field_are_no_parentheses_of_the_rule() {
        let field = Text(vec![Part::Field("owner".to_string())]);
        let check = Check::Credential("project_id".to_string(), field.clone());
        assert_eq!(parse("(project_id:%(owner)s)"), Ok(check));
        assert_eq!(
            parse("'public':%(owner)s"),
            Ok(Check::Literal("public".to_string(), field.clone()))
        );
        assert_eq!(parse("True:%(owner)s"), Ok(Check::Literal("True".to_string(), field)));
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_the_reason() {
        for (text, reason) in [
            ("admin", "no check"),
            ("role:a role:b", "'and' or 'or' is missing"),
            ("(role:a", "a ')' is missing"),
            ("role:a)", "a ')' too many"),
            ("role:a and", "ends where"),
            ("or role:a", "nothing before it"),
            ("()", "a ')' stands where"),
            ("not", "ends where"),
            ("http://policy.example/%(name)s", "asks another server"),
            ("role:%(x)d", "must begin %(name)s"),
            ("'public:%(x)s", "quotes"),
            ("\"role:admin\"", "quotes"),
            ("a+b:c", "no kind of check"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
        let deep = format!("{}role:a{}", "(".repeat(100), ")".repeat(100));
        assert!(parse(&deep).unwrap_err().contains("too deep"));
    }
}
