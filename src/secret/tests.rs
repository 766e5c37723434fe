use super::*;

#[test]
fn a_pem_key_is_found_from_marker_to_marker() {
    let text = "a: 1\nkey: |\n  -----BEGIN RSA PRIVATE KEY-----\n  MIIE\n  -----END RSA PRIVATE KEY-----\nb: 2\n";
    let redacted = redact(text);
    assert_eq!(redacted.len(), text.len());
    assert!(!redacted.contains("MIIE") && redacted.starts_with("a: 1\nkey: |") && redacted.ends_with("\nb: 2\n"));
}

#[test]
fn a_key_without_an_end_reaches_to_the_end_of_the_text() {
    for start in
        ["-----BEGIN OPENSSH PRIVATE KEY-----", "PuTTY-User-Key-File-3: ssh-ed25519", "b3BlbnNzaC1rZXktdjEAAAA"]
    {
        let text = format!("a: \"é\"\nk: {start}\nsecret é\n");
        let redacted = redact(&text);
        assert!(!redacted.contains("secret"), "{redacted}");
        assert_eq!(redacted.len(), text.len());
    }
}

#[test]
fn several_keys_are_found() {
    let key = "-----BEGIN EC PRIVATE KEY-----\\nsecret\\n-----END EC PRIVATE KEY-----";
    let text = format!("a: [\"{key}\", public, \"{key}\"]\nb: END PRIVATE KEY\n");
    assert_eq!(find(&text).len(), 2);
    assert!(!redact(&text).contains("secret") && redact(&text).contains(", public, "));
}

#[test]
fn markers_that_touch_do_not_overlap() {
    let text = "-----BEGIN PRIVATE KEY----- x -----END PRIVATE KEY-----".repeat(3)
        + " "
        + &"BEGIN PRIVATE KEY END PRIVATE KEY ".repeat(3);
    let found = find(&text);
    assert!(found.len() > 3 && found.windows(2).all(|pair| pair[0].span.end <= pair[1].span.start), "{found:?}");
    assert_eq!(redact(&text).len(), text.len());
}

#[test]
fn a_body_without_its_first_line_ends_at_the_end_marker() {
    let text = "k: |\n  b3BlbnNzaC1rZXktdjEAAAA\n  secret\n  -----END OPENSSH PRIVATE KEY-----\nb: 2\n";
    assert!(!redact(text).contains("secret") && redact(text).ends_with("\nb: 2\n"));
}

#[test]
fn a_putty_key_ends_with_its_mac() {
    let text = "k: |\n  PuTTY-User-Key-File-2: ssh-rsa\n  Private-Lines: 1\n  AAAB\n  Private-MAC: 00ff\nb: 2\n";
    let redacted = redact(text);
    assert!(!redacted.contains("AAAB") && !redacted.contains("00ff") && redacted.ends_with("\nb: 2\n"));
}

#[test]
fn public_keys_are_left_alone() {
    let text = "keys: [ssh-ed25519 AAAA]\n# -----BEGIN PUBLIC KEY-----\n";
    assert_eq!(redact(text), text);
}

/// Invented, in the forms that the services document.
const SECRETS: [&str; 39] = [
    "AKIAIOSFODNN7EXAMPLE",
    "ASIAIOSFODNN7EXAMPLE",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "IQoJb3JpZ2luX2VjEOr//////////wEaCXVzLWVhc3QtMSJHMEUCIQDaXKv0lTkLUtJ9mPqRsVwXyZ0",
    "ab18Q~Wn3kQ2vXr7TzLpYc5Bd9FhJs0UgMaEoRiK",
    "Fq3Z8kLw1XvT5nR0yB7cJm2Hs9dPgU4aKe6oWiVtNxQz3rC8lYbM5fG1jD7hS0pEuA2kTvXnR9wLqZyB4cJm6A==",
    "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
    "github_pat_11ABCDEFG0aBcDeFgHiJkL_mNoPqRsTuVwXyZ0123456789",
    "glpat-xYz1234567890AbCdEfG",
    "xoxb-123456789012-1234567890123-AbCdEfGhIjKlMnOpQrStUvWx",
    "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
    "npm_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8",
    "pypi-AgEIcHlwaS5vcmcCJDAwMDAwMDAwLTAwMDAtMDAwMC0wMDAw",
    "hvs.CAESIJ1w3k8QbZ0c9VxYtR5uN7mLpA",
    "SG.ngeVfQFYQlKU0ufo8x5d1A.TwL2iGABf9DHoTf09kqeF8tAmbihYzrnopKc1s5cr",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    "postgresql://etl:Sup3rS3cret@db.internal:5432/x",
    "redis://:p4ssw0rd@cache.internal",
    "mongodb+srv://root:p@ss/w0rd!@cluster0.example.net/admin",
    "jdbc:oracle:thin:scott/t1ger@db:1521/x",
    "etl:Sup3rS3cret@tcp(db.internal:3306)/warehouse",
    "host=db.internal user=etl password=Sup3rS3cret",
    "jdbc:postgresql://db.internal/x?user=etl&password=Sup3rS3cret",
    "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g",
    "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKjMzEfYyjiWA4R",
    "MIIEowIBAAKCAQEAu1SU1LfVLPHCozMxH2Mo4lgOEePzNm0tRgeLezV6ffAt0gunVTLw7onLRnrq",
    "https://ghtokenabcdefghijk123@github.com/x.git",
    "https://hooks.slack.com/services/T00000000/B00000000/XXXXsecretXXXX12345678",
    "https://discord.com/api/webhooks/123456789012345678/abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
    "123456789:AAabcdefghijklmnopqrstuvwxyz1234567",
    "https://api.telegram.org/bot123456789:AAabcdefghijklmnopqrstuvwxyzABCDEFGH/sendMessage",
    "sk-abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKL",
    "s.AbCdEfGhIjKlMnOpQrStUvWx",
    "abcdefghijklmn.atlasv1.ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
    "NRAK-ABCDEFGHIJKLMNOPQRSTUVWXYZ1",
    "eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0..aaaaaaaaaaaaaaaa.Zm9vYmFyYmF6cXV4.cccccccccccccccccccccc",
    "curl -u admin:CurlSecret99",
    "mysql -u root -pMysqlSecret99",
    "https://acct.blob.core.windows.net/c?sv=2022-11-02&sig=Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYg%3D%3D",
];

#[test]
fn secrets_are_found_by_their_own_form() {
    for secret in SECRETS {
        for text in [
            secret.to_owned(),
            format!("a: 1 # {secret}\nb: é"),
            format!("  host: \"{secret}\"\n"),
            format!("[{secret}, x]"),
        ] {
            let found = find(&text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            let masked = redact(&text);
            assert_eq!(masked.len(), text.len());
            let hidden = &text[found[0].span.clone()];
            assert!(hidden.len() >= 5 && !masked.contains(hidden), "{masked}");
        }
    }
    assert_eq!(redact("x postgresql://etl:Sup3rS3cret@db.internal/x"), "x postgresql://etl:***********@db.internal/x");
    assert_eq!(
        redact("Server=db;User Id=etl;Password={a;b};Encrypt=yes"),
        "Server=db;User Id=etl;Password={***};Encrypt=yes"
    );
    assert_eq!(
        redact("DefaultEndpointsProtocol=https;AccountName=a;AccountKey=abc+/=="),
        "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=*******"
    );
    assert_eq!(
        redact("Authorization: Bearer abcdefghijklmnopqrstuvwxyz"),
        "Authorization: Bearer **************************"
    );
}

#[test]
fn what_is_no_secret_stays() {
    for text in [
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl ana@laptop",
        "SHA256:Wv7Lx8cGz3kQ2vXr7TzLpYc5Bd9FhJs0UgMaEoRiKb4",
        "sha512:Fq3Z8kLw1XvT5nR0yB7cJm2Hs9dPgU4aKe6oWiVtNxQz3rC8lYbM5fG1jD7hS0pEuA2kTvXnR9wLqZyB4cJm6A==",
        "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg-shared/providers/Microsoft.Network/virtualNetworks/vnet-data9/subnets/snet",
        "https://www.example.com:8443/path@2x and http://[::1]:80/a@b, https://host/x:y@z, ssh://git@host/x",
        "arn:aws:sts::111122223333:assumed-role/deploy/ana@example.com",
        "sk-ssh-ed25519@openssh.com, sk-ecdsa-sha2-nistp256@openssh.com",
        "password=${DB_PASSWORD} password=$PASSWORD password=<password> password=****",
        "password=none token=none secret=null PASSWORD=None password=false apikey=n/a; 2026-11-30T12:00:00Z, port 123456:AAA",
        "the token is invalid; Bearer authentication; a == b; version=1",
        "sk-warehouse-replica-01.cluster-abcdefghijkl.eu-central-1.rds.amazonaws.com, s.replica, dbs.AbCdEfGhIjKlMnOpQrStUvWx",
        "mysql -p -u root, curl -u admin, mysql --port 3306, https://deploy@git.example.com/x",
        "sk-team, sk-data-platform-production-01, NRAK-team, the mysql -primary, https://deployment-user-01@git.example.com/x",
        "s.internal.example.com, hooks.slack.com, password rotation every 90 days, token-service, secret-santa-2026",
        "eipalloc-0a1b2c3d4e5f60718 AKIA npm_ ghp_ https://user:@host",
    ] {
        assert_eq!(find(text), [], "{text}");
    }
}

#[test]
fn names_say_what_is_secret() {
    for secret in [
        "password",
        "DB_PASSWORD",
        "dbpassword",
        "passwd",
        "pwd",
        "secret",
        "client_secret",
        "clientSecret",
        "token",
        "api_key",
        "apiKey",
        "x-api-key",
        "aws_secret_access_key",
        "secret_access_key",
        "access_key",
        "AccountKey",
        "session_token",
        "passphrase",
    ] {
        assert!(name(secret).is_some(), "{secret}");
    }
    for harmless in [
        "keys",
        "key_updates",
        "password-policy",
        "secret-owner",
        "tokens",
        "public_key",
        "name",
        "",
        "-",
        "monkey",
        "compass",
        "security_group",
    ] {
        assert_eq!(name(harmless), None, "{harmless}");
    }
}

#[test]
fn a_value_under_a_secrets_name_is_hidden_in_yaml() {
    for (text, hidden) in [
        ("a: {password: hunter2, b: c}", "hunter2"),
        ("# password: hunter2\nb: 1", "hunter2"),
        ("# api key: hunter2\nb: 1", "hunter2"),
        ("team: \"Passwort: hunter2\"\nb: 1", "hunter2"),
        ("- \"api_key\": \"hun\\\"ter2\"\nb: 1", "ter2"),
        ("secret: |\n  hunter2\n\n  more hunter2\nb: 1", "hunter2"),
        ("  - token:\n      - hunter2\n  - b: 1", "hunter2"),
        ("secret: &s hunter2\nb: 1", "hunter2"),
    ] {
        let masked = mask(text, &named_in(text));
        assert_eq!(masked.len(), text.len());
        assert!(!masked.contains(hidden), "{masked}");
        assert!(masked.contains('b'), "{masked}");
    }
    assert_eq!(named_in("password: none\n# kms key: 0123, an api key rotation: weekly\nb: 1"), []);
    assert_eq!(named_in("tokens: 1\nkeys: [a]\nhttp://secret:1\nsecret:\nb: 1"), []);
}
