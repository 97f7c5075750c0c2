import FoundationEssentials
import Glibc
import Synchronization
import Testing
import WireFormat

@testable import EdgeAgent

/// The supervisor as a process: what it captures, what it kills and what it writes down.
@Suite(.timeLimit(.minutes(2)), .serialized)
struct SupervisorTests {
    /// Runs one launch to its end without any agent.
    private func launch(
        _ script: String,
        on bench: BotWorkbench,
        prefix: String = "@@packet-x ",
        segmentBytes: Int = 16 << 20,
        whileRunning: (LaunchHandle) async throws -> Void = { _ in }
    ) async throws -> [LogRecord] {
        let backend = try bench.backend()
        try await backend.prepare(botID: "a", configuration: [], profile: bench.shell(""))
        var profile = bench.shell(script)
        profile.stop = StopSequence(grace: .milliseconds(500))
        profile.logLimits.segmentBytes = segmentBytes
        // How large a segment gets depends on how much is read at once; here none may go.
        profile.logLimits.segmentCount = 1_000
        let handle = try await backend.start(
            LaunchRequest(botID: "a", name: "A", launchID: "launch-1", profile: profile, chatPort: 1)
        )
        try await whileRunning(handle)
        await backend.waitUntilEnded(handle)
        return bench.records()
    }

    private func exited(_ records: [LogRecord]) throws -> SupervisorEvent {
        try #require(records.last.flatMap { SupervisorEvent($0.text) })
    }

    @Test("Both output streams are captured apart, each in its order, and the exit code is recorded")
    func capturesBothStreams() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let records = try await launch(
            "for i in 1 2 3; do echo out $i; echo err $i >&2; done; printf 'no newline'; exit 7",
            on: bench
        )
        #expect(records.filter { $0.stream == .stdout }.map(\.string) == ["out 1", "out 2", "out 3", "no newline"])
        #expect(records.filter { $0.stream == .stderr }.map(\.string) == ["err 1", "err 2", "err 3"])
        #expect(SupervisorEvent(records[0].text)?.event == "started")
        let event = try exited(records)
        #expect(event.event == "exited")
        #expect(event.code == 7 && event.signal == 0 && event.requested == false)
        #expect(event.lastStderr == "err 1\nerr 2\nerr 3\n")
    }

    @Test("Death by a signal is told from an exit")
    func recordsSignal() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let event = try exited(try await launch("kill -SEGV $$", on: bench))
        #expect(event.signal == SIGSEGV && event.code == 0)
    }

    @Test("Lines with the launch's prefix are packets, all others are not")
    func separatesPackets() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let records = try await launch(
            #"echo "$BOT_PACKET_PREFIX{\"seq\":1}"; echo "@@packet-guess {}"; echo " ${BOT_PACKET_PREFIX}{}"; "#
                + #"echo "$BOT_PACKET_PREFIX{}" >&2"#,
            on: bench
        )
        #expect(records.filter { $0.stream == .packet }.map(\.string) == [#"{"seq":1}"#])
        #expect(records.filter { $0.stream == .stdout }.count == 2)
        #expect(records.filter { $0.stream == .stderr }.count == 1)
    }

    @Test("A line beyond 1 MiB is cut with a mark and what was dropped is counted; binary output passes through")
    func cutsLongLines() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let records = try await launch(
            #"head -c 1048600 /dev/zero | tr '\0' x; echo; printf 'a\000\377b\r\n'; "#
                + "head -c 1048576 /dev/zero; echo; echo end",
            on: bench
        )
        let output = records.filter { $0.stream == .stdout }
        #expect(output.map(\.text.count) == [1 << 20, 4, 1 << 20, 3])
        #expect(output.map(\.isTruncated) == [true, false, false, false])
        #expect(output[1].text == [0x61, 0, 0xFF, 0x62])
        #expect(records.contains { $0.string == #"{"event":"line_cut","stream":"stdout","dropped_bytes":24}"# })
    }

    @Test("Stopping ends the whole tree, also a child that left the group and ignores SIGTERM")
    func killsWholeTree() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let script = """
            trap '' TERM
            setsid sh -c 'trap "" TERM; echo $$ > escaped; echo ready; while :; do sleep 0.1; done' &
            (sh -c 'trap "" TERM; while :; do sleep 0.1; done' &)
            while :; do sleep 0.1; done
            """
        let began = ContinuousClock.now
        let prefix = Mutex("")
        let records = try await launch(script, on: bench) { handle in
            try await bench.waitForLine("ready")
            let directory = try BotDirectory(root: bench.bots, botID: "a")
            let plan = try #require(directory.readPlan())
            prefix.withLock { $0 = plan.packetPrefix }
            handle.supervisor?.signal(SIGTERM)
        }
        let event = try exited(records)
        #expect(event.signal == SIGKILL && event.requested == true)
        #expect(ContinuousClock.now - began < .seconds(15))
        #expect(SystemProcesses.carrying("BOT_PACKET_PREFIX=\(prefix.withLock { $0 })").isEmpty)
    }

    @Test("What a bot leaves behind when it ends by itself is ended too, and its last words are kept")
    func sweepsAfterExit() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let records = try await launch("(sleep 0.2; echo late; exec sleep 600) & exit 3", on: bench)
        #expect(try exited(records).code == 3)
    }

    @Test("A program that cannot be run is recorded as the end of the launch")
    func recordsLaunchError() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let backend = try bench.backend()
        try await backend.prepare(botID: "a", configuration: [], profile: bench.shell(""))
        let script = bench.path + "/bots/not-a-program"
        try Files.replace(script, with: Array("#!/does/not/exist\n".utf8), mode: 0o755)
        let profile = RuntimeProfile(name: "default", command: CommandTemplate(words: [script]))
        let handle = try await backend.start(
            LaunchRequest(botID: "a", name: "A", launchID: "launch-1", profile: profile, chatPort: 1)
        )
        await backend.waitUntilEnded(handle)
        let event = try exited(bench.records())
        #expect(event.launchError?.contains("could not be started") == true)
    }

    @Test("Rotation keeps offsets; every line is found once and in order")
    func rotates() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let records = try await launch(
            "seq 60000",
            on: bench,
            segmentBytes: 20_000
        )
        #expect(LogSegments.list(bench.logs("a")).count > 3)
        #expect(records.filter { $0.stream == .stdout }.map(\.string) == (1...60_000).map(String.init))
        for (record, next) in zip(records, records.dropFirst()) { #expect(record.endOffset == next.offset) }
    }

    @Test("The bot's environment is the contract's and nothing of the agent's own")
    func passesEnvironment() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let records = try await launch("env; pwd; readlink /proc/self/fd/0; ls /proc/self/fd", on: bench)
        let lines = records.filter { $0.stream == .stdout }.map(\.string)
        let names = Set(lines.filter { $0.contains("=") }.map { String($0.prefix { $0 != "=" }) })
        #expect(
            names.subtracting(["PWD", "_", "SHLVL", "OLDPWD"]) == [
                "PATH", "LANG", "HOME", "TMPDIR", "BOT_ID", "BOT_NAME", "BOT_CONFIG", "BOT_WORKSPACE", "BOT_CHAT_HOST",
                "BOT_CHAT_PORT", "BOT_CHAT_TOKEN", "BOT_PACKET_PREFIX",
            ]
        )
        #expect(lines.contains("HOME=\(bench.directory("a"))") && lines.contains(bench.directory("a")))
        #expect(lines.contains("/dev/null"))
        // 0, 1, 2 and the one `ls` itself holds: nothing of the supervisor leaks.
        #expect(Set(lines.suffix(4)) == ["0", "1", "2", "3"])
    }

    @Test("Only one supervisor runs a bot")
    func locks() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let backend = try bench.backend()
        _ = try await launch("echo ready; exec sleep 600", on: bench) { handle in
            try await bench.waitForLine("ready")
            let second = try await backend.start(
                LaunchRequest(
                    botID: "a",
                    name: "A",
                    launchID: "launch-2",
                    profile: bench.shell("echo second"),
                    chatPort: 1
                )
            )
            await backend.waitUntilEnded(second)
            #expect(await backend.adopt(botID: "a") == handle)
            handle.supervisor?.signal(SIGTERM)
        }
        #expect(!bench.records().contains { $0.string == "second" })
    }
}
