import Foundation
import Glibc
import Testing

/// What an operator types, against a real hub, agent and bot.
@Suite("The command line", .serialized, .timeLimit(.minutes(10)))
struct CommandLineTests {
    /// `control-hub` on the hub's own machine, without a token.
    private func here(
        _ story: Story,
        _ arguments: String...,
        expecting status: Int32 = 0,
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws -> String {
        let arguments = arguments + ["--data-dir", story.hub.data.path]
        let done = try await run("control-hub", arguments, in: story.bench.folder)
        #expect(done.status == status, "\(arguments): \(done.text)", sourceLocation: sourceLocation)
        return done.text
    }

    private func json(_ text: String) throws -> JSON { try JSON(parsing: text) }

    private func lines(_ text: String) -> [JSON] {
        // `try?`: a line that is not complete yet.
        text.split(separator: "\n").compactMap { try? JSON(parsing: String($0)) }
    }

    /// Runs a command on a terminal of its own (util-linux's `script`, with what it is told on standard input).
    private func onTerminal(_ story: Story, _ arguments: String, input: String = "") async throws -> String {
        let program = Program.binaries.appending(path: "control-hub").path
        let command = "printf '\(input)' | script -qec '\(program) \(arguments)' /dev/null"
        return try await run(
            "/bin/sh",
            ["-c", command],
            environment: ["HUB_DATA_DIR": story.hub.data.path, "TERM": "xterm"],
            in: story.bench.folder
        ).text
    }

    /// What bash offers for the last word of a line, by the script that the program writes.
    private func completed(_ story: Story, _ words: String...) async throws -> [String] {
        let line = (["control-hub"] + words).map { "'\($0)'" }.joined(separator: " ")
        let script = """
            source <(control-hub --generate-completion-script bash)
            COMP_WORDS=(\(line)); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMP_LINE="${COMP_WORDS[*]}"; COMP_POINT=${#COMP_LINE}
            _control-hub control-hub "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
            printf '%s\\n' "${COMPREPLY[@]}"
            """
        let done = try await run(
            "/bin/bash",
            ["-c", script],
            environment: [
                "HUB_DATA_DIR": story.hub.data.path, "PATH": "\(Program.binaries.path):/usr/bin:/bin",
            ],
            in: story.bench.folder
        )
        return done.text.split(separator: "\n").map { $0.trimmingCharacters(in: .whitespaces) }
    }

    @Test("on the hub's machine: nodes, bots, commands and codes, as tables, in pipes and as JSON, without a token")
    func local() async throws {
        let story = try await Story()
        let nodes = try json(try await here(story, "nodes", "--json")).items
        #expect(nodes.map { $0["name"] } == ["kitchen"] && nodes.first?["health"] == "online")
        let piped = try await here(story, "nodes")
        #expect(piped.hasPrefix("kitchen\tonline\t20") && piped.split(separator: "\n").count == 1, "\(piped)")
        let table = try await onTerminal(story, "nodes")
        #expect(table.hasPrefix("NAME     HEALTH  SINCE"), "\(table)")
        #expect(table.contains("kitchen  online  "), "\(table)")
        #expect(try await here(story, "nodes", "show", "kitchen").contains("host name\t"))
        // Names are offered only where the hub tells them at once, which it may not on a busy machine.
        try await eventually("names of nodes and bots are offered") {
            let nodes = try await completed(story, "nodes", "show", "k")
            let bots = try await completed(story, "logs", "")
            return nodes == ["kitchen"] && bots == ["echo"] ? () : nil
        }
        #expect(try await completed(story, "nodes", "list", "--health", "off") == ["offline"])
        #expect(try await completed(story, "bots", "cr") == ["create"])
        #expect(try json(try await here(story, "nodes", "test", "kitchen", "--json"))["ok"] == .bool(true))
        #expect(try await here(story, "nodes", "drain", "kitchen").contains("drained"))
        _ = try await here(story, "bots", "restart", "echo", expecting: 1)
        #expect(try json(try await here(story, "nodes", "resume", "kitchen", "--json"))["draining"] == .bool(false))

        #expect(try await here(story, "bots").hasPrefix("echo\tready\trunning\t"))
        #expect(try await here(story, "bots", "stop", "echo").contains("stop echo: done"))
        try await eventually("the bot has stopped") {
            try json(try await here(story, "bots", "show", "echo", "--json"))["phase"] == "stopped" ? () : nil
        }
        #expect(try json(try await here(story, "bots", "start", story.bot, "--json"))["state"] == "done")
        _ = try await here(story, "bots", "create", "second", "--node", "kitchen", "--start")
        _ = try await here(story, "bots", "create", "third", "--node", "kitchen")
        for more in [[], ["-f"]] {
            let never = try await run(
                "control-hub",
                ["logs", "third", "--data-dir", story.hub.data.path] + more,
                in: story.bench.folder
            )
            #expect(never.status == 68 && never.text.contains("has not been started yet"), "\(never.text)")
            #expect(never.text.contains("control-hub bots start") && !never.text.contains("/api/"), "\(never.text)")
        }
        _ = try await here(story, "bots", "delete", "third", "--yes")
        let deep = story.bench.folder.appending(path: "deep.json")
        let nested = String(repeating: #"{"a":"#, count: 70) + "1" + String(repeating: "}", count: 70)
        try nested.write(to: deep, atomically: true, encoding: .utf8)
        let tooDeep = try await here(
            story,
            "bots",
            "create",
            "fourth",
            "--node",
            "kitchen",
            "--bot-config",
            deep.path,
            expecting: 65
        )
        #expect(tooDeep.contains("deeper than 63 levels"), "\(tooDeep)")
        _ = try await here(story, "bots", "delete", "second", expecting: 64)
        _ = try await here(story, "bots", "delete", "second", "--yes")

        let commands = try json(try await here(story, "commands", "--bot", "echo", "--state", "done", "--json")).items
        #expect(commands.first?["kind"] == "start_bot" && commands.first?["actor"] == "command-line", "\(commands)")
        let id = commands.first?["id"].string ?? ""
        #expect(try await here(story, "commands", "show", id).contains("state\tdone"))
        _ = try await here(story, "commands", "cancel", id, expecting: 1)

        let code = try json(try await here(story, "enrollment", "create", "--json"))
        #expect(code["code"].string?.count == 14)
        let stolen = try await run(
            "edge-agent",
            [
                "enroll", "--hub", story.hub.url, "--code", "ABCD-EFGH-JKMN", "--ca-file", story.hub.authority,
                "--state-dir", story.bench.folder.appending(path: "thief").path,
            ],
            in: story.bench.folder
        )
        #expect(stolen.status != 0)
        #expect(try await here(story, "enrollment", "list").contains("127.0.0.1: This code is not known"))
        _ = try await here(story, "enrollment", "delete", code["id"].string ?? "")

        let unknown = try await here(story, "nodes", "show", "attic", expecting: 68)
        #expect(unknown.contains("there is no node attic. There are: kitchen."), "\(unknown)")
        let nobody = try await here(story, "bots", "start", "nobody", expecting: 68)
        #expect(nobody.contains("There are: echo."), "\(nobody)")
        _ = try await here(story, "nodes", "--health", "happy", expecting: 64)

        story.hub.program.signal(SIGTERM)
        _ = try await story.hub.program.exit()
        let away = try await here(story, "nodes", expecting: 69)
        #expect(away.contains("no hub serves from \(story.hub.data.path)"), "\(away)")
        let hub = try await story.bench.startHub(port: story.hub.port)
        hub.program.kill()
        let killed = try await here(story, "nodes", expecting: 69)
        #expect(killed.contains("is away: nothing listens on"), "\(killed)")
    }

    @Test("from elsewhere: by token, authority and pin; every refusal says what it is and ends with its own status")
    func remote() async throws {
        let story = try await Story()
        let folder = story.bench.folder
        func there(_ arguments: [String], token: String = story.api.token ?? "", _ more: [String: String] = [:])
            async throws
            -> (status: Int32, text: String)
        {
            let environment = ["HUB_URL": story.hub.url, "HUB_TOKEN": token, "HUB_CA_FILE": story.hub.authority]
            return try await run("control-hub", arguments, environment: environment.merging(more) { $1 }, in: folder)
        }
        let nodes = try await there(["nodes", "--json"])
        #expect(nodes.status == 0, "\(nodes.text)")
        #expect(try json(nodes.text).items.count == 1)
        let code = try await there(["enrollment", "create", "--json"])
        #expect(try json(code.text)["command"].string?.contains("edge-agent enroll") == true, "\(code.text)")
        #expect(try await there(["enrollment", "list"]).text.contains("open"))

        let pin = try json(try String(contentsOf: story.hub.data.appending(path: "hub.json"), encoding: .utf8))["pin"]
        let pinned = try await there(["bots"], ["HUB_CA_FILE": "", "HUB_PIN_SHA256": pin.string ?? ""])
        #expect(pinned.status == 0 && pinned.text.hasPrefix("echo\t"), "\(pinned.text)")
        let otherPin = try await there(
            ["bots"],
            ["HUB_CA_FILE": "", "HUB_PIN_SHA256": String(repeating: "ab", count: 32)]
        )
        #expect(otherPin.status == 69 && otherPin.text.contains("pinned key"), "\(otherPin.text)")
        let noTrust = try await there(["bots"], ["HUB_CA_FILE": ""])
        #expect(noTrust.status == 69 && noTrust.text.contains("--ca-file"), "\(noTrust.text)")

        let wrong = try await there(["nodes"], token: "op_wrong")
        #expect(wrong.status == 77 && wrong.text.contains("does not accept the token"), "\(wrong.text)")
        #expect(!wrong.text.contains("op_wrong"))
        let added = try await run(
            "control-hub",
            ["operator", "add", "vera", "--role", "viewer", "--json", "--data-dir", story.hub.data.path],
            in: folder
        )
        let viewer = try json(added.text)["token"].string ?? ""
        #expect(try await there(["nodes"], token: viewer).status == 0)
        let forbidden = try await there(["bots", "stop", "echo"], token: viewer)
        #expect(forbidden.status == 77 && forbidden.text.contains("needs the role operator"), "\(forbidden.text)")
        let mixed = try await there(["nodes", "--url", story.hub.url, "--data-dir", story.hub.data.path])
        #expect(mixed.status == 64, "\(mixed.text)")

        // A proxy of the environment is taken, and this machine is never behind one.
        let proxied = try await there(["nodes"], ["HTTPS_PROXY": "http://127.0.0.1:9"])
        #expect(proxied.status == 0, "\(proxied.text)")
        story.agent.kill()
        story.hub.program.kill()
        let away = try await there(["nodes"])
        #expect(away.status == 69 && away.text.contains("nothing listens on that port"), "\(away.text)")
        let path = try await run("control-hub", ["--generate-completion-script", "bash"], in: folder)
        #expect(path.status == 0 && path.text.contains("enrollment"))
        for verb in ["nodes", "bots", "logs", "chat", "deploy", "events", "commands", "enrollment"] {
            let help = try await run("control-hub", [verb, "--help"], in: folder)
            #expect(help.status == 0 && help.text.contains("--url") || help.text.contains("SUBCOMMANDS"), "\(verb)")
        }
    }

    @Test("chat: one message, line by line, on a terminal, what the bot does meanwhile, and what went wrong")
    func chat() async throws {
        let story = try await Story()
        let one = try await here(story, "chat", "echo", "good", "morning")
        #expect(one.contains("This is message 1 of our conversation; it has 2 words."), "\(one)")
        let spoken = lines(try await here(story, "chat", "echo", "/note buy milk", "--json"))
        #expect(spoken.compactMap { $0["type"].string } == ["sent", "tool", "answer", "ended"], "\(spoken)")
        #expect(
            spoken[1]["text"] == "wrote a note" && spoken[2]["text"] == "Noted." && spoken[3]["state"] == "answered"
        )

        let program = Program.binaries.appending(path: "control-hub").path
        let environment = ["HUB_DATA_DIR": story.hub.data.path]
        let script = try await run(
            "/bin/sh",
            ["-c", "printf 'my name is Ada\\n\\nwho am i\\n' | \(program) chat echo 2>/dev/null"],
            environment: environment,
            in: story.bench.folder
        )
        #expect(script.text == "Hello, Ada. I will remember your name.\nYou are Ada.\n", "\(script.text)")

        let typed = try await onTerminal(story, "chat echo", input: "/note x\\n")
        #expect(typed.contains("> ") && typed.contains("· wrote a note") && typed.contains("Noted."), "\(typed)")
        #expect(typed.contains("to go on: control-hub chat echo --conversation"), "\(typed)")

        // Ctrl-C while an answer is waited for: it ends at once, and says how to go on.
        let slow = try await story.api.send("PATCH", "/api/bots/\(story.bot)", ["config": ["reply_delay_ms": 600_000]])
        #expect(slow.status == 200)
        _ = try await here(story, "bots", "restart", "echo")
        try await eventually("the bot is ready again") {
            try json(try await here(story, "bots", "show", "echo", "--json"))["phase"] == "ready" ? () : nil
        }
        let waiting = try Program(
            "control-hub",
            ["chat", "echo", "later"],
            environment: environment,
            in: story.bench.folder
        )
        try await eventually("the bot is at it", or: { waiting.text }) {
            waiting.text.contains("· thinking") ? () : nil
        }
        waiting.signal(SIGINT)
        #expect(try await waiting.exit() == 130)
        #expect(waiting.text.contains("--conversation"), "\(waiting.text)")
        let late = try await here(story, "chat", "echo", "too", "late", "--timeout", "1s", expecting: 75)
        #expect(late.contains("no answer within 1 s"), "\(late)")
    }

    @Test("logs -f and events go on after the hub was killed: every line once, and events say that some are missing")
    func following() async throws {
        let story = try await Story()
        let folder = story.bench.folder
        let data = ["--data-dir", story.hub.data.path]
        _ = try await here(story, "chat", "echo", "emit 5")
        #expect(try await here(story, "logs", "echo", "-n", "1000").contains("emit line 5 of 5\n"))
        let found = lines(try await here(story, "logs", "echo", "--search", "EMIT LINE 3", "--json"))
        #expect(found.map { $0["text"] } == ["emit line 3 of 5"] && found.first?["source"] == "stdout", "\(found)")
        #expect(try await here(story, "logs", "echo", "--since", "2001-01-01T00:00:00Z").contains("emit line 1 of 5\n"))
        _ = try await here(story, "logs", "echo", "--since", "yesterday", expecting: 64)

        let log = try Program("control-hub", ["logs", "-f", "echo", "-n", "0"] + data, in: folder)
        let events = try Program("control-hub", ["events", "--json", "--bot", "echo"] + data, in: folder)
        let plain = try Program("control-hub", ["events", "--types", "packet"] + data, in: folder)
        // Nothing says that a stream is open but what comes over it.
        for number in 1... {
            _ = try await here(story, "chat", "echo", "emit 1")
            let isFollowing = log.text.contains("emit line 1 of 1") && plain.text.contains("packet")
            if isFollowing, events.text.contains("\"packet\"") { break }
            try #require(number < 50, "\(log.text)\n\(events.text)\n\(plain.text)")
        }
        _ = try await here(story, "chat", "echo", "emit 20")
        try await eventually("the lines", or: { log.text }) { log.text.contains("emit line 20 of 20\n") ? () : nil }

        story.hub.program.kill()
        try await eventually("the loss is told", or: { log.text + events.text }) {
            log.text.contains("Trying again") && events.text.contains("Trying again") ? () : nil
        }
        let hub = try await story.bench.startHub(port: story.hub.port)
        try await eventually("all are connected again", or: { hub.program.text + log.text + events.text }) {
            log.text.contains("connected again") && events.text.contains("connected again") ? () : nil
        }
        _ = try await here(story, "chat", "echo", "emit 30")
        try await eventually("the lines after it", or: { log.text }) {
            log.text.contains("emit line 30 of 30\n") ? () : nil
        }
        let emitted = log.text.split(separator: "\n").filter { $0.hasPrefix("emit line") && $0.hasSuffix("0") }
        let expected = (1...20).map { "emit line \($0) of 20" } + (1...30).map { "emit line \($0) of 30" }
        #expect(emitted.filter { $0.hasSuffix(" of 20") || $0.hasSuffix(" of 30") }.map(String.init) == expected)
        try await eventually("the events after it", or: { events.text }) {
            lines(events.text).contains { $0["type"] == "missed" } && events.text.contains("emit 30 of 30") ? () : nil
        }
        for follower in [log, events, plain] {
            follower.signal(SIGINT)
            #expect(try await follower.exit() == 130)
        }
    }

    @Test("deploy: preview, question, progress and receipt; refusals; rollback and history")
    func deploy() async throws {
        let story = try await Story()
        try await Story.pair(story.bench, story.hub, state: "barn", name: "barn")
        let barn = try story.bench.startAgent(state: "barn")
        try await eventually("the barn is online", or: { barn.text }) {
            try await story.api.get("/api/nodes?health=online").items.count == 2 ? () : nil
        }
        let preview = try json(try await here(story, "deploy", "echo", "--node", "barn", "--dry-run", "--json"))
        #expect(
            preview["is_possible"] == .bool(true) && preview["target"]["node_id"].string != story.node,
            "\(preview)"
        )
        let shown = try await here(story, "deploy", "echo", "--node", "barn", "--dry-run")
        #expect(
            shown.contains("workspace: ") && shown.contains("from  kitchen, ") && shown.contains("to    barn, "),
            "\(shown)"
        )
        let asked = try await here(story, "deploy", "echo", "--node", "barn", expecting: 64)
        #expect(asked.contains("Say --yes"), "\(asked)")
        let denied = try await onTerminal(story, "deploy echo --node barn", input: "n\\n")
        #expect(denied.contains("Deploy echo? [y/N]") && denied.contains("nothing was done"), "\(denied)")
        #expect(try await story.api.get("/api/bots/\(story.bot)")["node_id"].string == story.node)
        let impossible = try await here(story, "deploy", "echo", "--profile", "none", "--yes", expecting: 1)
        #expect(impossible.contains("it cannot work"), "\(impossible)")
        _ = try await here(story, "deploy", "echo", expecting: 64)
        _ = try await here(story, "deploy", "echo", "--cancel", expecting: 1)

        let moved = try await onTerminal(story, "deploy echo --node barn", input: "y\\n")
        #expect(moved.contains("bot was away") && moved.contains("state") && moved.contains("succeeded"), "\(moved)")
        #expect(moved.contains("(9 of 9)"), "\(moved)")
        let undoing = try json(try await here(story, "deploy", "echo", "--rollback", "--dry-run", "--json"))
        #expect(
            undoing["target"]["node_id"].string == story.node && undoing["workspace_from"] == "source",
            "\(undoing)"
        )
        #expect(try await story.api.get("/api/bots/\(story.bot)")["node_id"].string != story.node)
        _ = try await here(story, "deploy", "echo", "--history", "--dry-run", expecting: 64)
        let back = lines(try await here(story, "deploy", "echo", "--rollback", "--yes", "--json"))
        #expect(back.last?["state"] == "succeeded" && back.count > 1, "\(back)")
        #expect(try await story.api.get("/api/bots/\(story.bot)")["node_id"].string == story.node)
        let history = try json(try await here(story, "deploy", "echo", "--history", "--json")).items
        #expect(history.count == 2 && history.allSatisfy { $0["actor"] == "command-line" }, "\(history)")
        try await story.end()
    }
}
