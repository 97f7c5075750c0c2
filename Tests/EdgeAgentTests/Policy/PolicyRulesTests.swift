import Glibc
import Testing

@testable import EdgeAgent

@Suite("PolicyRules")
struct PolicyRulesTests {
    @Test(
        "A rule that is not understood is an error that names it, never passed over",
        arguments: [
            (#"{"comands": []}"#, "comands"), (#"{"commands": "/bin/true"}"#, "commands"),
            (#"{"exec": "yes"}"#, "exec"),
            (#"{"caps": {"memory": 5}}"#, "caps.memory"), (#"{"caps": {"bots": -1}}"#, "caps.bots"),
            (#"{"caps": {"bots": "many"}}"#, "caps.bots"), (#"{"commands": ["run"]}"#, "commands"),
            (#"{"commands": ["/opt/../bin/sh"]}"#, "commands"), (#"{"commands": ["/opt/a 'b"]}"#, "commands"),
            (#"{"images": ["UPPER/case"]}"#, "images"), (#"{"images": ["*:1"]}"#, "images"),
            (#"{"images": ["a*"]}"#, "images"), (#"{"directories": ["srv"]}"#, "directories"),
            (#"{"directories": ["/"]}"#, "directories"), (#"{"directories": ["/srv/.."]}"#, "directories"),
            (#"{"environment": ["A-B"]}"#, "environment"), (#"{"environment": ["LD_PRELOAD"]}"#, "environment"),
            (#"{"backends": ["vm"]}"#, "backends"), (#"{"workspace": "all"}"#, "workspace"),
            (#"{"workspace_links": "out"}"#, "workspace_links"), ("[]", "policy"),
            ("", "policy"),
            (#"{"exec": true"#, "policy"),
            // One of the two would hold, and nobody could tell which.
            (#"{"exec": false, "exec": true}"#, "policy"), (#"{"caps": {"bots": 1, "b\u006fts": 9}}"#, "policy"),
        ]
    )
    func errors(json: String, rule: String) {
        let refusal = #expect(throws: PolicyRefusal.self) { try PolicyRules(json: Array(json.utf8)) }
        #expect(refusal?.rule == rule)
        #expect(refusal?.message.contains("\n") == false)
    }

    @Test("What is written out reads back as the same rules")
    func roundTrip() throws {
        let text = #"""
            {"backends": ["native"], "commands": ["/opt/a --x {config} *"], "images": ["busybox", "ghcr.io/x/*"],
             "directories": ["/srv/bots"], "environment": ["A", "B_*"], "configuration": false, "workspace": "read",
             "workspace_code": true, "workspace_links": "any", "terminal": false, "exec": true, "caps": {"bots": 1, "cpu_percent": 150}}
            """#
        let rules = try PolicyRules(json: Array(text.utf8))
        #expect(try PolicyRules(json: rules.json) == rules)
        #expect(try PolicyRules(json: PolicyRules().json) == PolicyRules())
        #expect(rules.caps.cpuPercent == 150)
    }

    @Test("A missing file is the standard policy, unless it was named")
    func missing() throws {
        #expect(throws: AgentError.self) { try PolicyFile.load("/nonexistent/policy.json") }
    }

    @Test("A file that others can write is refused, and says what to do")
    func unsafeFile() throws {
        let folder = try FixtureFolder()
        try folder.write("policy.json", #"{"exec": false}"#)
        let path = folder.path + "/policy.json"
        #expect(try PolicyFile.load(path).file == path)
        chmod(path, 0o666)
        let error = #expect(throws: AgentError.self) { try PolicyFile.load(path) }
        #expect(error?.message.contains("chmod go-w \(path)") == true)
    }
}
