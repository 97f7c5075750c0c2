import Foundation
import Glibc
import Testing

/// What the two programs write by themselves.
@Suite("What a service writes", .timeLimit(.minutes(5)))
struct LogOutputTests {
    /// A line of a log.
    private struct Record {
        /// What stands before the object.
        let prefix: String
        let json: JSON

        init(_ line: Substring) throws {
            let start = line.firstIndex(of: "{") ?? line.endIndex
            prefix = String(line[..<start])
            json = try JSON(parsing: String(line[start...]))
        }

        var message: String { json["message"].string ?? "" }
        var level: String { json["level"].string ?? "" }
    }

    /// Throws where anything but records was written.
    private func records(_ text: String) throws -> [Record] {
        try text.split(separator: "\n", omittingEmptySubsequences: false).dropLast().map { line in
            do {
                return try Record(line)
            } catch {
                throw Failure("no record: \(line)")
            }
        }
    }

    /// Waits until a program has written a record that begins so.
    private func record(_ beginning: String, of program: Program) async throws -> Record {
        try await eventually("the record \"\(beginning)\"", or: { program.text }) {
            try records(program.text).first { $0.message.hasPrefix(beginning) }
        }
    }

    private func agentArguments(_ folder: URL) -> [String] {
        ["run", "--hub", "https://127.0.0.1:1", "--token", "nt_x", "--state-dir", folder.path + "/agent"]
    }

    private func hubArguments(_ folder: URL) -> [String] {
        ["serve", "--listen", "127.0.0.1:0", "--data-dir", folder.path + "/hub"]
    }

    /// Runs a command line on a terminal of its own (util-linux's `script`).
    private func onTerminal(_ words: [String], more: String = "", in folder: URL) throws -> Program {
        let command = ([Program.binaries.appending(path: words[0]).path] + words.dropFirst()).joined(separator: " ")
        return try Program("/usr/bin/script", ["-qec", command + more, "/dev/null"], in: folder)
    }

    @Test("a hub without a terminal writes records, and how to get a login link, but none, and makes none")
    func noLoginLink() async throws {
        let bench = try Workbench()
        var hub = try await bench.startHub()
        _ = try await record("hub started", of: hub.program)
        let hint = try await record("Nobody has signed in yet.", of: hub.program)
        let command = "control-hub operator login-link admin --data-dir \(bench.hubData.path)"
        #expect(hint.message.hasSuffix(command) && hint.level == "notice", "\(hint.json)")
        let count = try await run(
            "/usr/bin/python3",
            [
                "-c",
                "import sqlite3, sys; "
                    + "print(*sqlite3.connect(sys.argv[1]).execute('SELECT count(*) FROM operator_tokens').fetchone())",
                bench.hubData.path + "/hub.sqlite",
            ],
            in: bench.folder
        )
        #expect(count.text == "0\n")

        let words = command.split(separator: " ").map(String.init)
        let made = try await run(words[0], Array(words.dropFirst()), in: bench.folder)
        let token = try #require(made.text.split(separator: "#").last?.trimmingCharacters(in: .whitespacesAndNewlines))
        #expect(made.status == 0 && token.hasPrefix("login_"), "\(made.text)")
        hub.program.signal(SIGTERM)
        #expect(try await hub.program.exit() == 0)
        #expect(try !records(hub.program.text).isEmpty && !hub.program.text.contains("login_"))

        hub = try await bench.startHub()
        _ = try await record("Nobody has signed in yet.", of: hub.program)
        let api = try API(hub: hub, token: nil)
        let session = try await api.send("POST", "/api/session", ["login_token": .string(token)])
        #expect(session.status == 201, "the link outlives a restart: \(session.json)")
        hub.program.signal(SIGTERM)
        #expect(try await hub.program.exit() == 0)

        hub = try await bench.startHub()
        _ = try await record("hub started", of: hub.program)
        hub.program.signal(SIGTERM)
        #expect(try await hub.program.exit() == 0)
        #expect(try !records(hub.program.text).contains { $0.message.hasPrefix("Nobody") })
    }

    @Test("who starts a hub at a terminal sees a login link, and no log that is written meanwhile has it")
    func loginLinkAtTerminal() async throws {
        let bench = try Workbench()
        let hub = try onTerminal(["control-hub"] + hubArguments(bench.folder), in: bench.folder)
        try await eventually("the link", or: { hub.text }) { hub.text.contains("/login#login_") ? () : nil }
        hub.kill()

        // Now only standard output is a terminal.
        let log = bench.folder.appending(path: "log")
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--data-dir", bench.folder.path + "/second"]
        let quiet = try onTerminal(["control-hub"] + arguments, more: " 2>\(log.path)", in: bench.folder)
        let text = try await eventually("the record", or: { quiet.text }) {
            let text = try String(contentsOf: log, encoding: .utf8)
            return text.contains("Nobody has signed in yet.") && text.hasSuffix("\n") ? text : nil
        }
        #expect(try records(text).count >= 2 && !text.contains("login_") && quiet.text.isEmpty, "\(quiet.text)")
    }

    @Test(
        "every record has its priority in front where standard error is the journal",
        arguments: ["edge-agent", "control-hub"]
    )
    func priorities(program: String) async throws {
        let bench = try Workbench()
        let isAgent = program == "edge-agent"
        let path = Program.binaries.appending(path: program).path
        let started = try Program(
            "/bin/sh",
            ["-c", #"JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) exec "$0" "$@""#, path]
                + (isAgent ? agentArguments(bench.folder) : hubArguments(bench.folder)),
            in: bench.folder
        )
        _ = try await record(isAgent ? "not connected" : "Nobody has signed in yet.", of: started)
        started.signal(SIGTERM)
        #expect(try await started.exit() == 0)
        let priorities = ["error": "<3>", "warning": "<4>", "notice": "<5>", "info": "<6>"]
        let records = try records(started.text)
        #expect(records.allSatisfy { $0.prefix == priorities[$0.level] }, "\(started.text)")
        #expect(Set(records.map(\.level)).isSuperset(of: isAgent ? ["info", "warning"] : ["info", "notice"]))
    }

    @Test(
        "what keeps a service from starting is one record of level error",
        arguments: [
            ["edge-agent", "run", "--state-dir", "FOLDER/none"],
            ["edge-agent", "run", "--state-dir", "FOLDER/none", "--log-level", "loud"],
            ["edge-agent", "run", "--no-such-option"],
            ["control-hub", "serve", "--data-dir", "FOLDER/hub", "--listen", "nowhere"],
            ["control-hub", "serve", "--data-dir", "FOLDER/hub", "--tls-cert", "/none", "--tls-key", "/none"],
            ["control-hub", "serve", "--no-such-option"],
        ]
    )
    func startFailure(words: [String]) async throws {
        let bench = try Workbench()
        let words = words.map { $0.replacingOccurrences(of: "FOLDER", with: bench.folder.path) }
        let ended = try await run(words[0], Array(words.dropFirst()), in: bench.folder)
        let records = try records(ended.text)
        let last = try #require(records.last)
        #expect(ended.status != 0 && last.level == "error", "\(ended.text)")
        #expect(records.count { $0.level == "error" } == 1 && !last.message.contains("Usage:"), "\(ended.text)")
        let onTerminal = try onTerminal(words, in: bench.folder)
        #expect(try await onTerminal.exit() == ended.status)
        #expect(!onTerminal.text.contains("{"), "\(onTerminal.text)")
    }

    @Test("a failed start is told as text where the hub's log is text")
    func textFailure() async throws {
        let bench = try Workbench()
        let hub = try await bench.startHub()
        let ended = try await run(
            "control-hub",
            ["serve", "--log-format", "text", "--listen", hub.address, "--data-dir", bench.folder.path + "/second"],
            in: bench.folder
        )
        #expect(ended.status == 69 && ended.text.contains(" ERROR cannot listen on \(hub.address)"), "\(ended.text)")
    }

    @Test(
        "what a command says stays text",
        arguments: [
            (["edge-agent", "status", "--config", "/none.json"], "edge-agent: "),
            (["edge-agent", "enroll", "--hub", "https://127.0.0.1:1"], "Error: "),
            (["control-hub", "nodes", "--url", "nonsense"], "control-hub: "),
            (["control-hub", "operator", "login-link", "nobody", "--data-dir", "FOLDER/hub"], "control-hub: "),
        ]
    )
    func commands(words: [String], beginning: String) async throws {
        let bench = try Workbench()
        let words = words.map { $0.replacingOccurrences(of: "FOLDER", with: bench.folder.path) }
        let ended = try await run(words[0], Array(words.dropFirst()), in: bench.folder)
        #expect(ended.status != 0 && ended.text.hasPrefix(beginning), "\(ended.text)")
    }

    @Test("libdispatch tells syslog nothing, except on request", arguments: ["edge-agent", "control-hub"])
    func libdispatch(program: String) async throws {
        let bench = try Workbench()
        let log = try SystemLog(in: bench.folder)
        let isAgent = program == "edge-agent"
        let arguments = isAgent ? agentArguments(bench.folder) : hubArguments(bench.folder)
        let first = isAgent ? "not connected" : "hub started"

        let quiet = try log.start(program, arguments)
        _ = try await record(first, of: quiet)
        quiet.signal(SIGTERM)
        #expect(try await quiet.exit() == 0)
        let told = log.takeMessages()
        #expect(told.isEmpty, "\(told)")

        let asked = try log.start(program, arguments, environment: ["LIBDISPATCH_LOG": "syslog"])
        _ = try await record(first, of: asked)
        try await eventually("libdispatch tells of its threads", or: { asked.text }) {
            log.takeMessages().contains { $0.contains("thread priority") } ? () : nil
        }
        asked.signal(SIGTERM)
        #expect(try await asked.exit() == 0)
    }
}
