//! Addresses that the environment or a configuration file names, checked before anybody is called: an SDK would take a wrong one for
//! a network that is down, and call again and again.

use crate::cloud_error::{CloudError, ErrorKind, Residue};

/// What calls go through on their way to either cloud.
pub const PROXIES: &[&str] = &["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
const WEB: &[&str] = &["http", "https"];
const PROXY: &[&str] = &["http", "https", "socks4", "socks4a", "socks5", "socks5h"];

/// Refuses the first of these variables whose value is no address. A variable that is empty counts as unset.
///
/// # Errors
/// The variable, its value, and what is wrong with it.
pub fn check(cloud: &str, variables: &[&str], env: &dyn Fn(&str) -> Option<String>) -> Result<(), CloudError> {
    let set = |name: &&str| Some((name.to_string(), env(name).filter(|value| !value.is_empty())?));
    for (name, value) in variables.iter().filter_map(set) {
        check_address(&value, WEB).map_err(|why| wrong_address(cloud, &name, &value, why))?;
    }
    for (name, value) in PROXIES.iter().filter_map(set) {
        // A proxy is often named without a scheme.
        let whole = if value.contains("://") { value.clone() } else { format!("http://{value}") };
        check_address(&whole, PROXY).map_err(|why| wrong_address(cloud, &name, &value, why))?;
    }
    Ok(())
}

/// Refuses an address that a configuration file names.
///
/// # Errors
/// What is wrong with it.
pub fn check_web_address(cloud: &str, setting: &str, value: &str) -> Result<(), CloudError> {
    check_address(value, WEB).map_err(|why| wrong_address(cloud, setting, value, why))
}

/// `host:port` of an address, for people.
pub fn host(address: &str) -> String {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once('@').map_or(authority, |(_, host)| host).to_owned()
}

fn check_address(value: &str, schemes: &[&str]) -> Result<(), &'static str> {
    let Some((scheme, rest)) = value.split_once("://") else {
        return Err("it does not begin with http:// or https://");
    };
    if !schemes.contains(&scheme.to_ascii_lowercase().as_str()) {
        return Err("its scheme is neither http nor https");
    }
    if rest.is_empty() || host(value).is_empty() || host(value).starts_with(':') {
        return Err("it names no host");
    }
    let uri: hyper::Uri = value.parse().map_err(|_| "it is no address")?;
    uri.host().filter(|host| !host.is_empty()).map(drop).ok_or("it names no host")
}

fn wrong_address(cloud: &str, setting: &str, value: &str, why: &str) -> CloudError {
    CloudError {
        operation: format!("connect to {cloud}"),
        kind: ErrorKind::Invalid,
        code: None,
        request_id: None,
        message: format!("{setting} is {:?}, which is not an address: {why}", without_password(value)),
        residue: Residue::Nothing,
        remedy: Some(format!("correct {setting}, or unset it")),
    }
}

/// A proxy's address often carries a password.
fn without_password(address: &str) -> String {
    let (scheme, rest) = address.split_once("://").map_or(("", address), |(scheme, rest)| (scheme, rest));
    let separator = if scheme.is_empty() { "" } else { "://" };
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}{separator}***@{host}"),
        None => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(name: &'static str, value: &'static str) -> Result<(), String> {
        let env = |asked: &str| (asked == name).then(|| value.to_owned());
        check("AWS", &["AWS_ENDPOINT_URL"], &env).map_err(|error| error.message)
    }

    #[test]
    fn what_is_no_address_is_refused_with_its_variable_and_value() {
        for wrong in
            ["nonsense", "http://", "ftp://127.0.0.1", "http://:80", "127.0.0.1:4566", "http://a b", "https:///x"]
        {
            let message = checked("AWS_ENDPOINT_URL", wrong).expect_err(wrong);
            assert!(message.starts_with(&format!("AWS_ENDPOINT_URL is {wrong:?}")), "{message}");
        }
        for right in ["", "http://127.0.0.1:4566", "https://vpce-1.ec2.us-east-1.vpce.amazonaws.com/", "http://[::1]:1"]
        {
            assert_eq!(checked("AWS_ENDPOINT_URL", right), Ok(()), "{right}");
        }
    }

    #[test]
    fn a_proxy_may_be_named_without_a_scheme_and_keeps_its_password() {
        for right in ["proxy.internal:3128", "http://ana:secret@proxy.internal:3128", "socks5://127.0.0.1:1080", ""] {
            assert_eq!(checked("HTTPS_PROXY", right), Ok(()), "{right}");
        }
        let message = checked("HTTPS_PROXY", "gopher://ana:secret@proxy.internal").expect_err("no scheme of a proxy");
        assert!(message.contains("gopher://***@proxy.internal") && !message.contains("secret"), "{message}");
    }

    #[test]
    fn a_host_is_told_without_what_surrounds_it() {
        assert_eq!(host("https://ana:secret@host.example:8443/path?x"), "host.example:8443");
        assert_eq!(host("http://127.0.0.1:1"), "127.0.0.1:1");
    }
}
