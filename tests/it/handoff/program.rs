//! What a program reads.

use super::*;

#[test]
fn a_program_reads_the_hand_off() {
    let verified = one_red();
    let plan = warehouse();
    let text = handoff::json::json(&[handoff::handoff(&plan, &known(Some(&verified)))]);
    let mut value: Value = serde_json::from_str(&text).expect("JSON");
    let bastion = value["bastions"][0].as_object_mut().expect("a bastion");
    let checks = bastion.remove("verification").expect("a verification")["checks"].as_array().map(Vec::len);
    assert_eq!(checks, Some(10));
    let by_hand = bastion.remove("by_hand").expect("an operator");
    assert_eq!(by_hand["trials"][0]["local_port"], 15432);
    assert_snapshot!(format!("{value:#}"), @r#"
    {
      "format_version": 1,
      "bastions": [
        {
          "bastion": "warehouse",
          "location": "aws us-east-1",
          "region": "us-east-1",
          "account": {
            "cloud": "aws",
            "id": "111122223333",
            "profile": null
          },
          "plan": "plans/aws-warehouse.yaml",
          "made": "2026-11-22T12:00:00Z",
          "address": "203.0.113.10",
          "port": 22,
          "ends": {
            "kind": "at",
            "time": "2027-02-20T12:00:00Z",
            "seconds_left": 7776000
          },
          "next": [
            {
              "kind": "repair",
              "text": "First repair what is red. control.database-group[warehouse]: security group sg-0db has no rule that lets the bastion in on tcp 5432. To do: run `gangplank apply`, or list sg-0db under aws.database_access.",
              "command": "gangplank verify plans/aws-warehouse.yaml"
            },
            {
              "kind": "add-key",
              "tunnel": "secoda",
              "text": "Fill in the vendor's form with the fields of tunnel secoda. Paste the public key that it shows then under `keys` of tunnel secoda in plans/aws-warehouse.yaml, line 21, and apply again: the machine takes it while it runs.",
              "url": "https://app.secoda.co/tunnels/",
              "command": "gangplank apply plans/aws-warehouse.yaml"
            }
          ],
          "path": {
            "edge_is": "security group",
            "edge": "unknown",
            "bastion": "unknown"
          },
          "tunnels": [
            {
              "user": "secoda",
              "vendor": "secoda/north-america",
              "form": "https://app.secoda.co/tunnels/",
              "documentation": "https://docs.secoda.co/integrations/security/connecting-via-ssh-tunnel",
              "fields": [
                {
                  "label": "SSH Username",
                  "value": "secoda"
                },
                {
                  "label": "SSH Hostname",
                  "value": "203.0.113.10"
                },
                {
                  "label": "Port",
                  "value": "22"
                }
              ],
              "sources": [
                {
                  "network": "35.175.75.15/32",
                  "why": "secoda/north-america"
                }
              ],
              "targets": [
                {
                  "name": "warehouse",
                  "host": "warehouse.internal",
                  "port": 5432,
                  "speaks": "postgres",
                  "light": "fail"
                }
              ],
              "keys": []
            }
          ],
          "host_keys": [
            {
              "algorithm": "ssh-ed25519",
              "fingerprint": "SHA256:5ZZy1D8eVgcMc3zNoP1aZdexyQG8tXDjqrFVVx08kG4",
              "known_hosts": "203.0.113.10 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAIoWFzXAFtSMEHFpBKF7D5mmpVeWSS6QDMs53bDMIZb"
            }
          ],
          "operators": [
            "ana"
          ],
          "notes": []
        }
      ]
    }
    "#);
}

// --- the page
