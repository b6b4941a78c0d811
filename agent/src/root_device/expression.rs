//! Expressions of hints: Ironic's operators (oslo.utils `specs_matcher`).

use std::fmt;

/// Operators by their spelling; a longer one before those it begins with.
const OPERATORS: [(&str, Operator); 17] = [
    ("<all-in>", Operator::AllIn),
    ("<range-in>", Operator::RangeIn),
    ("<in>", Operator::In),
    ("<or>", Operator::Or),
    ("s==", Operator::TextEqual),
    ("s!=", Operator::TextNotEqual),
    ("s<=", Operator::TextAtMost),
    ("s>=", Operator::TextAtLeast),
    ("s<", Operator::TextBelow),
    ("s>", Operator::TextAbove),
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
    ("<=", Operator::AtMost),
    (">=", Operator::AtLeast),
    ("<", Operator::Below),
    (">", Operator::Above),
    ("=", Operator::AtLeast),
];

/// What an operator does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Below,
    AtMost,
    Above,
    AtLeast,
    TextEqual,
    TextNotEqual,
    TextBelow,
    TextAtMost,
    TextAbove,
    TextAtLeast,
    In,
    AllIn,
    Or,
    RangeIn,
}

/// What a disk shows for a hint.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum HintValue {
    /// Lower case.
    Text(String),
    Number(f64),
    Boolean(bool),
}

impl fmt::Display for HintValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Number(number) => write!(f, "{number:.2} GiB"),
            Self::Boolean(boolean) => write!(f, "{boolean}"),
        }
    }
}

/// A parsed expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Expression {
    operator: Operator,
    /// Operands, lower case.
    operands: Vec<String>,
    shown: String,
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl Expression {
    /// A text hint: equality without an operator.
    pub(super) fn text(text: &str) -> Result<Self, &'static str> {
        let expression = Self::parse(text, Operator::TextEqual)?;
        if expression.is_numeric() && expression.numbers().is_none() {
            return Err(
                "this operator compares numbers; use its s form for text (s==, s!=, s< ...)",
            );
        }
        Ok(expression)
    }

    /// A number hint: equality without an operator, operands must be positive whole numbers.
    pub(super) fn number(text: &str) -> Result<Self, &'static str> {
        let mut expression = Self::parse(text, Operator::Equal)?;
        if matches!(expression.operator, Operator::In | Operator::AllIn) {
            return Err("numbers cannot be searched with <in> or <all-in>");
        }
        // `<or> 10 <or> 20` lists numbers; every other operand is one.
        let digits = |operand: &String| !operand.bytes().all(|byte| byte.is_ascii_digit());
        let mut numbers: Vec<String> = expression.operands.clone();
        if expression.operator == Operator::RangeIn {
            numbers = range(&expression.operands).map(|(_, low, high, _)| vec![low, high])?;
        }
        if numbers.iter().any(digits) || numbers.iter().any(|number| number.parse() == Ok(0u64)) {
            return Err("must be a positive whole number");
        }
        expression.shown.push_str(" GiB");
        Ok(expression)
    }

    /// A boolean hint: no operators, the spellings Ironic takes.
    pub(super) fn boolean(text: &str) -> Result<Self, &'static str> {
        let canonical = match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "t" | "on" | "y" | "yes" => "true",
            "false" | "0" | "f" | "off" | "n" | "no" => "false",
            _ => return Err("must be true or false"),
        };
        Ok(Self {
            operator: Operator::TextEqual,
            operands: vec![canonical.to_owned()],
            shown: canonical.to_owned(),
        })
    }

    fn parse(text: &str, default: Operator) -> Result<Self, &'static str> {
        let shown = text.trim().to_owned();
        let text = shown.to_lowercase();
        let found = OPERATORS.into_iter().find_map(|(spelling, operator)| {
            Some((operator, text.strip_prefix(spelling)?.trim().to_owned()))
        });
        let (operator, rest) = found.unwrap_or((default, text));
        let operands: Vec<String> = match operator {
            Operator::Or => rest.split("<or>").map(|word| word.trim().to_owned()).collect(),
            // Ironic repeats the operator as well: `<all-in> a <all-in> b`.
            Operator::AllIn => {
                rest.replace("<all-in>", " ").split_whitespace().map(str::to_owned).collect()
            }
            Operator::RangeIn => {
                let spaced = ['[', ']', '(', ')']
                    .into_iter()
                    .fold(rest, |text, bracket| text.replace(bracket, &format!(" {bracket} ")));
                spaced.split_whitespace().map(str::to_owned).collect()
            }
            Operator::Equal
            | Operator::NotEqual
            | Operator::Below
            | Operator::AtMost
            | Operator::Above
            | Operator::AtLeast
            | Operator::TextEqual
            | Operator::TextNotEqual
            | Operator::TextBelow
            | Operator::TextAtMost
            | Operator::TextAbove
            | Operator::TextAtLeast
            | Operator::In => vec![rest],
        };
        if operands.is_empty() || operands.iter().any(String::is_empty) {
            return Err("nothing follows the operator");
        }
        if operator == Operator::RangeIn {
            range(&operands)?;
        }
        Ok(Self { operator, operands, shown })
    }

    /// Whether a value fulfils it. A text that is no number fulfils no numeric comparison.
    pub(super) fn matches(&self, value: &HintValue) -> bool {
        let (text, number) = match value {
            HintValue::Text(text) => (text.clone(), text.parse().ok()),
            HintValue::Number(number) => (number.to_string(), Some(*number)),
            HintValue::Boolean(boolean) => (boolean.to_string(), None),
        };
        if self.is_numeric() {
            return number.is_some_and(|number| self.matches_number(number));
        }
        let Some(first) = self.operands.first() else { return false };
        match self.operator {
            Operator::TextEqual => text == *first,
            Operator::TextNotEqual => text != *first,
            Operator::TextBelow => text < *first,
            Operator::TextAtMost => text <= *first,
            Operator::TextAbove => text > *first,
            Operator::TextAtLeast => text >= *first,
            Operator::In => text.contains(first.as_str()),
            Operator::AllIn => self.operands.iter().all(|word| text.contains(word.as_str())),
            Operator::Or => self.operands.iter().any(|word| {
                // As numbers where both are: 10 and 10.0 are the same size.
                text == *word || number.is_some_and(|number| word.parse() == Ok(number))
            }),
            Operator::Equal
            | Operator::NotEqual
            | Operator::Below
            | Operator::AtMost
            | Operator::Above
            | Operator::AtLeast
            | Operator::RangeIn => false,
        }
    }

    /// Whether operands and value are compared as numbers.
    fn is_numeric(&self) -> bool {
        matches!(
            self.operator,
            Operator::Equal
                | Operator::NotEqual
                | Operator::Below
                | Operator::AtMost
                | Operator::Above
                | Operator::AtLeast
                | Operator::RangeIn
        )
    }

    /// The operands as numbers; `None` when one is none. A range gives its two ends.
    fn numbers(&self) -> Option<Vec<f64>> {
        let words = if self.operator == Operator::RangeIn {
            range(&self.operands).map(|(_, low, high, _)| vec![low, high]).ok()?
        } else {
            self.operands.clone()
        };
        words
            .iter()
            .map(|word| word.parse().ok().filter(|number: &f64| number.is_finite()))
            .collect()
    }

    #[expect(clippy::float_cmp, reason = "Ironic's == on sizes is exact: 10.7 GiB is not 10")]
    fn matches_number(&self, value: f64) -> bool {
        let numbers = self.numbers().unwrap_or_default();
        let Some(&first) = numbers.first() else { return false };
        match self.operator {
            Operator::Equal => value == first,
            Operator::NotEqual => value != first,
            Operator::Below => value < first,
            Operator::AtMost => value <= first,
            Operator::Above => value > first,
            Operator::AtLeast => value >= first,
            Operator::RangeIn => {
                let (Some(&high), Ok((open, _, _, close))) =
                    (numbers.get(1), range(&self.operands))
                else {
                    return false;
                };
                let above = if open == "[" { value >= first } else { value > first };
                let below = if close == "]" { value <= high } else { value < high };
                above && below
            }
            Operator::TextEqual
            | Operator::TextNotEqual
            | Operator::TextBelow
            | Operator::TextAtMost
            | Operator::TextAbove
            | Operator::TextAtLeast
            | Operator::In
            | Operator::AllIn
            | Operator::Or => false,
        }
    }
}

/// The four parts of a range: bracket, low, high, bracket.
fn range(operands: &[String]) -> Result<(String, String, String, String), &'static str> {
    match operands {
        [open, low, high, close]
            if matches!(open.as_str(), "[" | "(") && matches!(close.as_str(), "]" | ")") =>
        {
            Ok((open.clone(), low.clone(), high.clone(), close.clone()))
        }
        _ => Err("a range is written <range-in> [ LOW HIGH ], with ( and ) for open ends"),
    }
}
