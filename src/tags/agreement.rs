//! What several resources tell of one fact, where tags can be changed one by one.

/// What resources tell, without what one tells alone while two or more others agree on something else: a single changed tag
/// then decides nothing. Each value is kept as often as it is told.
pub fn without_lone<T: PartialEq + Clone>(told: &[T]) -> Vec<T> {
    let count = |value: &T| told.iter().filter(|other| *other == value).count();
    let agreed = told.iter().any(|value| count(value) > 1);
    told.iter().filter(|value| !agreed || count(value) > 1).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::without_lone;

    #[test]
    fn one_against_two_or_more_does_not_count() {
        assert_eq!(without_lone(&[1, 2, 1]), [1, 1]);
        assert_eq!(without_lone(&[1, 2, 1, 3]), [1, 1]);
        assert_eq!(without_lone(&[1, 2, 1, 2]), [1, 2, 1, 2]);
        assert_eq!(without_lone(&[1, 2]), [1, 2]);
        assert_eq!(without_lone(&[1]), [1]);
        assert_eq!(without_lone::<u8>(&[]), [0; 0]);
    }
}
