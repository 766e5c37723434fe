//! What EC2 says instead of doing it. Codes: "Error codes for the Amazon EC2 API".

/// An error answer, without its envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub code: String,
    pub message: String,
}

pub type Outcome<T> = Result<T, Refusal>;

/// A client error.
pub fn refuse<T>(code: &str, message: impl Into<String>) -> Outcome<T> {
    Err(refusal(code, message))
}

pub fn refusal(code: &str, message: impl Into<String>) -> Refusal {
    Refusal { status: 400, code: code.to_owned(), message: message.into() }
}

pub fn bad_value(parameter: &str, value: &str, why: &str) -> Refusal {
    refusal("InvalidParameterValue", format!("Value ({value}) for parameter {parameter} is invalid. {why}"))
}

pub fn missing_parameter(name: &str) -> Refusal {
    refusal("MissingParameter", format!("The request must contain the parameter {name}"))
}
