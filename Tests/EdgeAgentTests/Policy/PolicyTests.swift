import Testing

@testable import EdgeAgent

/// What a hub in the wrong hands would try.
@Suite("Policy")
struct PolicyTests {
    private func policy(_ json: String) throws -> Policy {
        Policy(local: try PolicyRules(json: Array(json.utf8)), file: "/etc/edge-agent/policy.json")
    }

    /// The rule that refused; nil where nothing did.
    private func rule(_ check: () throws -> Void) -> String? {
        do {
            try check()
            return nil
        } catch {
            return (error as? PolicyRefusal)?.rule ?? "\(error)"
        }
    }

    // MARK: Without a file

    @Test("Without a file the node's own profiles run, and nothing that the hub names")
    func closedByDefault() {
        let policy = Policy.standard
        let command = ["python3", "/opt/bot", "--config", "{config}"]
        #expect(rule { try policy.check(command: command, program: "/usr/bin/python3", from: .node) } == nil)
        #expect(rule { try policy.check(command: command, program: "/usr/bin/python3", from: .hub) } == "commands")
        #expect(rule { try policy.check(backend: "native", from: .node) } == nil)
        #expect(rule { try policy.check(backend: "docker", from: .hub) } == "backends")
        #expect(rule { try policy.check(image: "ghcr.io/me/bot:1", from: .node) } == nil)
        #expect(rule { try policy.check(image: "ghcr.io/me/bot:1", from: .hub) } == "images")
        #expect(rule { try policy.check(directory: "/tmp", from: .hub) } == "directories")
        #expect(rule { try policy.check(environment: ["GREETING": "hello"]) } == "environment")
        #expect(rule { try policy.checkTerminal() } == "terminal")
        #expect(rule { try policy.checkExec() } == "exec")
        #expect(rule { try policy.checkConfiguration() } == nil)
        #expect(rule { try policy.checkWorkspace(.write) } == nil)
    }

    @Test("A refusal names the rule, the file and what the owner could do, in one line")
    func refusalText() throws {
        let policy = try policy(#"{"commands": ["/opt/bot/run"]}"#)
        let refusal = #expect(throws: PolicyRefusal.self) {
            try policy.check(command: ["/bin/sh", "-c", "id"], program: "/bin/sh", from: .hub)
        }
        #expect(
            refusal?.message
                == "the launch command /bin/sh -c id is refused by this node's policy, rule \"commands\"; the node's owner can "
                + "change the rule \"commands\" in /etc/edge-agent/policy.json"
        )
    }

    // MARK: Commands

    @Test(
        "A command passes only word by word",
        arguments: [
            ("/opt/bot/run --config {config}", true),
            ("/opt/bot/run --config {config} --debug", false),
            ("/opt/bot/run", false),
            ("/opt/bot/run --config /etc/shadow", false),
            ("/opt/bot/run '--config {config}'", false),
            ("/opt/bot/../../bin/sh --config {config}", false),
            ("/opt/bot/./run --config {config}", false),
            ("/opt/bot//run --config {config}", false),
            ("/opt/bot/runner --config {config}", false),
            ("/opt/open/run anything at all", true),
            ("/opt/open/run", true),
            ("/opt/open/run/../other x", false),
            ("sh -c id", false),
        ]
    )
    func commands(line: String, isAllowed: Bool) throws {
        let policy = try policy(#"{"commands": ["/opt/bot/run --config {config}", "/opt/open/run *"]}"#)
        let words = try CommandTemplate(parsing: line).words
        for origin in [PolicyOrigin.node, .hub] {
            #expect((rule { try policy.check(command: words, program: words[0], from: origin) } == nil) == isAllowed)
        }
    }

    @Test("Where the file lists commands, a profile has to keep to them, by the program that its name stands for")
    func profilesKeepToTheList() throws {
        let policy = try policy(#"{"commands": ["/usr/bin/python3 /opt/bot"]}"#)
        let words = ["python3", "/opt/bot"]
        #expect(rule { try policy.check(command: words, program: "/usr/bin/python3", from: .node) } == nil)
        #expect(rule { try policy.check(command: words, program: "/home/x/bin/python3", from: .node) } == "commands")
    }

    @Test("An empty list allows nothing", arguments: ["commands", "images", "backends", "directories", "environment"])
    func emptyList(key: String) throws {
        let policy = try policy("{\"\(key)\": []}")
        let refused =
            switch key {
            case "commands": rule { try policy.check(command: ["/a"], program: "/a", from: .node) }
            case "images": rule { try policy.check(image: "a", from: .node) }
            case "backends": rule { try policy.check(backend: "native", from: .node) }
            case "directories": rule { try policy.check(directory: "/tmp", from: .node) }
            default: rule { try policy.check(environment: ["A": ""]) }
            }
        #expect(refused == key)
    }

    // MARK: Images

    @Test(
        "Image names are compared as Docker understands them",
        arguments: [
            ("ghcr.io/me/bot:1.2", true), ("ghcr.io/me/bot:latest", false), ("ghcr.io/me/bot", false),
            ("ghcr.io/me/bot:1.2@sha256:\(String(repeating: "a", count: 64))", false),
            ("GHCR.IO/me/bot:1.2", true), ("evil.example/ghcr.io/me/bot:1.2", false),
            ("ghcr.io.evil.example/me/bot:1.2", false), ("ghcr.io:444/me/bot:1.2", false),
            ("ghcr.io/me/bot2:1.2", false),
            ("ghcr.io/me/../evil/bot:1.2", false), ("ghcr.io/team/a:x", true), ("ghcr.io/team/a/b", true),
            ("ghcr.io/team", false), ("ghcr.io/teamster/a", false), ("ghcr.io/team/../me/evil", false),
            ("busybox", true), ("busybox:1.36", true), ("docker.io/library/busybox:latest", true),
            ("index.docker.io/library/busybox", true), ("library/busybox", true), ("localhost/busybox", false),
            ("localhost:5000/library/busybox", false), ("someone/busybox", false), ("Busybox", false), ("-v", false),
            ("--privileged", false), ("busybox --privileged", false), ("busybox\nevil", false), ("", false),
            ("busybox:", false), ("busybox@sha256:short", false), ("busybox:1.36:2", false),
        ]
    )
    func images(image: String, isAllowed: Bool) throws {
        let policy = try policy(#"{"images": ["ghcr.io/me/bot:1.2", "ghcr.io/team/*", "busybox"]}"#)
        #expect((rule { try policy.check(image: image, from: .hub) } == nil) == isAllowed)
    }

    @Test("A digest in the policy means that very image")
    func digest() throws {
        let digest = "sha256:" + String(repeating: "0123456789abcdef", count: 4)
        let policy = try policy("{\"images\": [\"ghcr.io/me/bot@\(digest)\"]}")
        #expect(rule { try policy.check(image: "ghcr.io/me/bot@\(digest)", from: .hub) } == nil)
        #expect(rule { try policy.check(image: "ghcr.io/me/bot:1", from: .hub) } == "images")
        let other = "sha256:" + String(repeating: "f", count: 64)
        #expect(rule { try policy.check(image: "ghcr.io/me/bot@\(other)", from: .hub) } == "images")
    }

    // MARK: Environment

    @Test(
        "What decides which code runs never comes from the hub, whatever the policy lists",
        arguments: [
            "LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME", "PYTHONINSPECT",
            "PATH",
            "HOME", "BASH_ENV", "ENV", "IFS", "NODE_OPTIONS", "NODE_PATH", "PERL5LIB", "PERL5OPT", "RUBYOPT",
            "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "GIT_SSH_COMMAND", "SSL_CERT_FILE", "HTTPS_PROXY", "https_proxy",
            "BOT_PACKET_PREFIX", "BOT_CHAT_TOKEN", "EDGE_TOKEN", "ld_preload", "GCONV_PATH", "LESSOPEN", "TMPDIR",
            "OPENSSL_CONF", "DOTNET_STARTUP_HOOKS", "VIRTUAL_ENV", "SHELLOPTS", "PS4", "PROMPT_COMMAND",
            "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "KUBECONFIG", "NANOBOT_TOOLS__EXEC__ENABLE",
            "nanobot_tools__mcp_servers", "GOOGLE_APPLICATION_CREDENTIALS", "ANSIBLE_CONFIG", "MAKEFLAGS", "CARGO_HOME",
        ]
    )
    func dangerousEnvironment(name: String) throws {
        let open = try policy(#"{"environment": ["FINE", "*"]}"#)
        #expect(rule { try open.check(environment: ["FINE": "1", name: "/tmp/evil.so"]) } == "environment")
        #expect(throws: PolicyRefusal.self) { try EnvironmentRule(name) }
    }

    @Test("Names that are none, and values with a zero byte, are refused")
    func oddEnvironment() throws {
        let open = try policy(#"{"environment": ["A"]}"#)
        for name in ["", "A=B", "A B", "1A", "A\n", "LD_PRELOAD\u{0}", "Ä", "A-B", String(repeating: "A", count: 129)] {
            #expect(rule { try open.check(environment: [name: "x"]) } == "environment", "\(name)")
        }
        #expect(rule { try open.check(environment: ["A": "x\u{0}LD_PRELOAD=y"]) } == "environment")
        #expect(rule { try open.check(environment: ["A": "x=y\nz"]) } == nil)
    }

    @Test("Variables go by whole names; a pattern of an earlier policy lets nothing in, and the refusal says so")
    func environment() throws {
        let policy = try policy(#"{"environment": ["OPENAI_API_KEY", "APP_*", "AWS_*", "*"]}"#)
        #expect(rule { try policy.check(environment: ["OPENAI_API_KEY": "k"]) } == nil)
        #expect(rule { try policy.check(environment: ["OPENAI_API_KEY2": "k"]) } == "environment")
        for name in ["APP_MODE", "AWS_REGION", "ANY", "AWS_CONFIG_FILE", "NANOBOT_TOOLS__EXEC"] {
            #expect(rule { try policy.check(environment: [name: "x"]) } == "environment", "\(name)")
        }
        let refusal = #expect(throws: PolicyRefusal.self) { try policy.check(environment: ["APP_MODE": "x"]) }
        #expect(refusal?.message.contains("(APP_* is no whole name and lets nothing in; list APP_MODE itself)") == true)
        #expect(PolicyAdvice(policy: policy).patterns?.contains("APP_*, AWS_*, *") == true)
        #expect(PolicyAdvice(policy: .standard).patterns == nil)
    }

    @Test("Pairing says what the hub may make bots run, and that it may not where it may not")
    func advice() throws {
        let standard = PolicyAdvice(policy: .standard).configuration
        #expect(standard.contains(#"put {"configuration": false} into /etc/edge-agent/policy.json"#), "\(standard)")
        let own = PolicyAdvice(policy: try policy(#"{"configuration": false}"#)).configuration
        #expect(own.contains("this node's own"))
    }

    // MARK: Caps and flags

    @Test("What is asked for above a cap is refused and the cap named")
    func caps() throws {
        let policy = try policy(#"{"caps": {"bots": 3, "memory_bytes": 1000}}"#)
        var limits = PolicyCaps()
        limits.memoryBytes = 1000
        limits.processes = 1_000_000
        #expect(rule { try policy.check(limits: limits) } == nil)
        limits.memoryBytes = 1001
        #expect(rule { try policy.check(limits: limits) } == "caps.memory_bytes")
        #expect(rule { try policy.check(botCount: 3) } == nil)
        #expect(rule { try policy.check(botCount: 4) } == "caps.bots")
    }

    @Test("Access to workspaces, configuration, terminal and exec follow the file")
    func flags() throws {
        let closed = try policy(#"{"configuration": false, "workspace": "read", "terminal": true, "exec": true}"#)
        #expect(rule { try closed.checkConfiguration() } == "configuration")
        #expect(rule { try closed.checkWorkspace(.read) } == nil)
        #expect(rule { try closed.checkWorkspace(.write) } == "workspace")
        #expect(rule { try closed.checkTerminal() } == nil)
        #expect(rule { try closed.checkExec() } == nil)
        #expect(rule { try policy(#"{"workspace": "none"}"#).checkWorkspace(.read) } == "workspace")
    }

    @Test("Links that lead out of a workspace lead to the system's programs, unless the file says otherwise")
    func links() throws {
        for place in ["/usr/bin/python3", "/bin/sh", "/lib64/ld.so", "/dev/null", "/usr"] {
            #expect(rule { try Policy.standard.check(link: "l", to: place) } == nil, "\(place)")
        }
        for place in ["/home/x", "/etc/passwd", "/usr/../etc", "../x", "/usr/", "/dev/sda", "/"] {
            #expect(rule { try Policy.standard.check(link: "l", to: place) } == "workspace_links", "\(place)")
            #expect(rule { try policy(#"{"workspace_links": "any"}"#).check(link: "l", to: place) } == nil)
        }
        #expect(
            rule { try policy(#"{"workspace_links": "inside"}"#).check(link: "l", to: "/usr/x") } == "workspace_links"
        )
        // The hub may keep itself back, and opens nothing.
        let narrow = try PolicyRules(json: Array(#"{"workspace_links": "inside"}"#.utf8))
        let wide = try PolicyRules(json: Array(#"{"workspace_links": "any"}"#.utf8))
        #expect(rule { try Policy.standard.narrowed(by: narrow).check(link: "l", to: "/usr/x") } == "workspace_links")
        #expect(rule { try Policy.standard.narrowed(by: wide).check(link: "l", to: "/home/x") } == "workspace_links")
    }

    // MARK: The hub's narrowing

    @Test("The hub can narrow every rule and widen none")
    func narrowing() throws {
        let own = try policy(
            #"{"commands": ["/opt/a *"], "images": ["a"], "environment": ["A"], "exec": false, "caps": {"memory_bytes": 100}}"#
        )
        let everything = try PolicyRules(
            json: Array(
                #"""
                {"commands": ["/bin/sh *", "/opt/a *"], "images": ["evil.example/*", "a"], "environment": ["*"], "exec": true,
                 "terminal": true, "workspace_code": true, "workspace": "write", "directories": ["/tmp"],
                 "backends": ["docker", "native"], "configuration": true, "caps": {"memory_bytes": 1000000}}
                """#.utf8
            )
        )
        let wide = own.narrowed(by: everything)
        var limits = PolicyCaps()
        limits.memoryBytes = 101
        #expect(rule { try wide.check(command: ["/bin/sh", "x"], program: "/bin/sh", from: .hub) } == "commands")
        #expect(rule { try wide.check(image: "evil.example/x", from: .hub) } == "images")
        #expect(rule { try wide.check(environment: ["B": ""]) } == "environment")
        #expect(rule { try wide.checkExec() } == "exec")
        #expect(rule { try wide.checkTerminal() } == "terminal")
        #expect(rule { try wide.check(directory: "/tmp", from: .hub) } == "directories")
        #expect(rule { try wide.check(backend: "docker", from: .hub) } == "backends")
        #expect(rule { try wide.check(limits: limits) } == "caps.memory_bytes")
        #expect(wide.caps.memoryBytes == 100)
        #expect(rule { try wide.check(command: ["/opt/a", "x"], program: "/opt/a", from: .hub) } == nil)

        let nothing = own.narrowed(
            by: try PolicyRules(json: Array(#"{"commands": [], "caps": {"memory_bytes": 5}}"#.utf8))
        )
        #expect(rule { try nothing.check(command: ["/opt/a", "x"], program: "/opt/a", from: .node) } == "commands")
        #expect(nothing.caps.memoryBytes == 5)
        // What it said before is forgotten, not added up.
        let registry = PolicyRegistry(nothing)
        registry.narrow(by: PolicyRules())
        #expect(registry.current == own)
    }
}
