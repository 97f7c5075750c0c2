import Glibc
import Synchronization
import Testing
import WebSocketKitLite
import WireFormat

@testable import EdgeAgent

/// A backend to try, and how to run a shell script by it.
struct BackendUnderTest: Sendable, CustomTestStringConvertible {
    var kind: BackendKind
    var make: @Sendable (BotWorkbench) throws -> any EdgeRuntimeBackend
    /// A profile whose bot is `/bin/sh -c script`.
    var profile: @Sendable (BotWorkbench, _ script: String) -> RuntimeProfile
    /// A profile whose program cannot be executed although it is there.
    var broken: @Sendable (BotWorkbench) throws -> RuntimeProfile
    /// Lets go of every launch, as if the agent had died.
    var leave: @Sendable (any EdgeRuntimeBackend) async -> Void = { _ in }
    /// The test did something that the bot sees.
    var mark: @Sendable (BotWorkbench) -> Void = { _ in }
    /// The test is over.
    var finish: @Sendable (BotWorkbench) throws -> Void = { _ in }
    /// What a bot is told to listen on.
    var chatHost = "127.0.0.1"
    /// The bots' processes are there to be looked at, and write files.
    var hasProcesses = true
    var name: String?

    var testDescription: String { name ?? kind.rawValue }

    /// Those that can be tried on this machine.
    static let all: [BackendUnderTest] = [native, held] + docker

    static let native = BackendUnderTest(
        kind: .native,
        make: { try $0.backend() },
        profile: { $0.shell($1) },
        broken: { bench in
            let program = bench.path + "/bots/not-a-program"
            try Files.replace(program, with: Array("#!/does/not/exist\n".utf8), mode: 0o755)
            return RuntimeProfile(name: "default", command: CommandTemplate(words: [program]))
        }
    )
}

extension BackendUnderTest {
    /// Native, with a holder that starts the supervisors.
    static let held = BackendUnderTest(
        kind: .native,
        make: { bench in
            let holder = try bench.startHolder()
            return try bench.backend(holder: holder)
        },
        profile: native.profile,
        broken: native.broken,
        finish: { $0.endHolder() },
        name: "native by a holder"
    )
}

/// What every `EdgeRuntimeBackend` does, tried with real processes.
@Suite(.timeLimit(.minutes(3)), .serialized)
struct RuntimeBackendContractTests {
    /// One bot of one backend.
    private struct Trial {
        let bench: BotWorkbench
        let backend: any EdgeRuntimeBackend
        let subject: BackendUnderTest

        func start(_ profile: RuntimeProfile, launchID: String = "launch-1") async throws -> LaunchHandle {
            try await backend.prepare(botID: "a", configuration: [], profile: profile)
            let port = try PortReservation().reserve(preferred: 0, avoiding: [])
            return try await backend.start(
                LaunchRequest(botID: "a", name: "Bot a", launchID: launchID, profile: profile, chatPort: port)
            )
        }

        func start(_ script: String, launchID: String = "launch-1") async throws -> LaunchHandle {
            try await start(subject.profile(bench, script), launchID: launchID)
        }

        /// Ends what the test left running, by the backend's own means; the workbench ends the rest.
        func cleanUp() async {
            guard let handle = await backend.adopt(botID: "a") else { return }
            await backend.stop(handle, sequence: StopSequence(steps: []))
            await backend.waitUntilEnded(handle)
        }

        /// Runs a script to its end and reads its log.
        func run(_ script: String) async throws -> [LogRecord] {
            await backend.waitUntilEnded(try await start(script))
            return bench.records()
        }

        /// Waits until the bot has written the word as a line of its own.
        func waitForLine(_ word: String) async throws {
            try await bench.waitForLine(word)
        }

        func end() throws -> SupervisorEvent {
            let event = try #require(bench.records().last.flatMap { SupervisorEvent($0.text) })
            #expect(event.event == "exited")
            return event
        }
    }

    private func trying(_ subject: BackendUnderTest, _ body: (Trial) async throws -> Void) async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let trial = Trial(bench: bench, backend: try subject.make(bench), subject: subject)
        do {
            try await body(trial)
        } catch {
            await trial.cleanUp()
            throw error
        }
        await trial.cleanUp()
        try subject.finish(bench)
    }

    @Test(
        "The log of a launch begins with its start, ends with its exit status, and holds both outputs apart",
        arguments: BackendUnderTest.all
    )
    func logsWholeLife(_ subject: BackendUnderTest) async throws {
        try await trying(subject) { (trial: Trial) async throws -> Void in
            let records = try await trial.run("echo out; echo err >&2; exit 7")
            let first = try #require(SupervisorEvent(records[0].text))
            #expect(first.event == "started" && first.launchID == "launch-1" && first.pid != nil)
            // A container that ended at once has no process any more when the engine is asked for it.
            #expect(first.pid != 0 || subject.kind == .docker)
            #expect(records.filter { $0.stream == .stdout }.map(\.string) == ["out"])
            #expect(records.filter { $0.stream == .stderr }.map(\.string) == ["err"])
            let end = try trial.end()
            #expect(end.launchID == "launch-1" && end.code == 7 && end.signal == 0 && end.requested == false)
            #expect(end.lastStderr == "err\n")
            #expect(await trial.backend.status(botID: "a") == nil)
            #expect(await trial.backend.adopt(botID: "a") == nil)
        }
    }

    @Test(
        "The contract's environment is there, and stdout lines with its prefix are packets",
        arguments: BackendUnderTest.all
    )
    func keepsContract(_ subject: BackendUnderTest) async throws {
        try await trying(subject) { (trial: Trial) async throws -> Void in
            let records = try await trial.run(
                #"echo "$BOT_PACKET_PREFIX{\"seq\":1}"; echo "{}"; echo "$BOT_ID/$BOT_NAME/$BOT_CHAT_HOST"; "#
                    + #"cat "$BOT_CONFIG"; echo; echo kept > "$BOT_WORKSPACE/file"; cd "$HOME" && pwd"#
            )
            #expect(records.filter { $0.stream == .packet }.map(\.string) == [#"{"seq":1}"#])
            let lines = records.filter { $0.stream == .stdout }.map(\.string)
            #expect(lines.starts(with: ["{}", "a/Bot a/\(subject.chatHost)", "{}"]))
            let kept = try Files.read(trial.bench.directory("a") + "/workspace/file")
            #expect(kept == Array("kept\n".utf8) || !subject.hasProcesses)
        }
    }

    @Test("A stop sends its signals one after the other", arguments: BackendUnderTest.all)
    func stopsInSteps(_ subject: BackendUnderTest) async throws {
        try await trying(subject) { (trial: Trial) async throws -> Void in
            let handle = try await trial.start(
                "trap 'echo got INT' INT; trap 'echo got TERM; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
            )
            try await trial.waitForLine("ready")
            let steps: [StopSequence.Step] = [.init(SIGINT, .milliseconds(300)), .init(SIGTERM, .seconds(20))]
            await trial.backend.stop(handle, sequence: StopSequence(steps: steps))
            await trial.backend.waitUntilEnded(handle)
            let lines = trial.bench.records().filter { $0.stream == .stdout }.map(\.string)
            #expect(lines == ["ready", "got INT", "got TERM"])
            let end = try trial.end()
            #expect(end.code == 0 && end.signal == 0 && end.requested == true)
        }
    }

    @Test(
        "What ignores every signal is killed with all it started, also what left its session",
        arguments: BackendUnderTest.all
    )
    func killsAtTheEnd(_ subject: BackendUnderTest) async throws {
        try await trying(subject) { (trial: Trial) async throws -> Void in
            let handle = try await trial.start(
                """
                trap '' TERM; sh -c 'trap "" TERM HUP; while :; do sleep 0.05; done' &
                setsid sh -c 'trap "" TERM HUP; echo apart; while :; do sleep 0.05; done' &
                while :; do sleep 0.05; done
                """
            )
            try await trial.waitForLine("apart")
            let prefix = try #require(try BotDirectory(root: trial.bench.bots, botID: "a").readPlan()).packetPrefix
            let isThere = SystemProcesses.carrying("BOT_PACKET_PREFIX=\(prefix)").count >= 3
            #expect(isThere || !subject.hasProcesses)
            await trial.backend.stop(handle, sequence: StopSequence(grace: .milliseconds(200)))
            await trial.backend.waitUntilEnded(handle)
            let end = try trial.end()
            #expect(end.signal == SIGKILL && end.requested == true)
            #expect(SystemProcesses.carrying("BOT_PACKET_PREFIX=\(prefix)").isEmpty)
        }
    }

    @Test("A launch outlives the backend; another one finds it again and sees its end", arguments: BackendUnderTest.all)
    func adopts(_ subject: BackendUnderTest) async throws {
        try await trying(subject) { (trial: Trial) async throws -> Void in
            let handle = try await trial.start(
                #"echo ready; while [ ! -e "$BOT_WORKSPACE/go" ]; do sleep 0.05; done; exit 9"#
            )
            try await trial.waitForLine("ready")
            await subject.leave(trial.backend)
            let next = try subject.make(trial.bench)
            #expect(await next.adopt(botID: "a") == handle)
            let status = try #require(await next.status(botID: "a"))
            #expect(status.handle == handle)
            if subject.hasProcesses {
                #expect(status.bot != nil)
                let root = try #require(await next.usage(handle))
                let usage = await TelemetrySampler().sample(bots: [root]).bots
                #expect(usage.first?.botID == "a" && usage.first?.rssBytes ?? 0 > 0)
            }
            try Files.replace(trial.bench.directory("a") + "/workspace/go", with: [], mode: 0o644)
            subject.mark(trial.bench)
            await next.waitUntilEnded(handle)
            #expect(try trial.end().code == 9)
        }
    }

    @Test("While a launch runs there is no second one", arguments: BackendUnderTest.all)
    func runsOnce(_ subject: BackendUnderTest) async throws {
        try await trying(subject) { (trial: Trial) async throws -> Void in
            let handle = try await trial.start("echo ready; while :; do sleep 0.05; done")
            try await trial.waitForLine("ready")
            if let second = try? await trial.start("echo second", launchID: "launch-2") {
                await trial.backend.waitUntilEnded(second)
            }
            #expect(await trial.backend.adopt(botID: "a") == handle)
            await trial.backend.stop(handle, sequence: StopSequence(grace: .milliseconds(100)))
            await trial.backend.waitUntilEnded(handle)
            #expect(!trial.bench.records().contains { $0.string == "second" })
        }
    }

    @Test(
        "Killed without a word, the launch is finished: nothing is left of it and the log says that it is lost",
        arguments: BackendUnderTest.all
    )
    func finishesLost(_ subject: BackendUnderTest) async throws {
        try await trying(subject) { (trial: Trial) async throws -> Void in
            let handle = try await trial.start("setsid sleep 600 & echo ready; exec sleep 600")
            try await trial.waitForLine("ready")
            let prefix = try #require(try BotDirectory(root: trial.bench.bots, botID: "a").readPlan()).packetPrefix
            await trial.backend.kill(handle)
            await trial.backend.waitUntilEnded(handle)
            let event = try #require(await trial.backend.finishLost(botID: "a", launchID: "launch-1"))
            #expect(event.event == "exited" && event.launchID == "launch-1")
            #expect(SystemProcesses.carrying("BOT_PACKET_PREFIX=\(prefix)").isEmpty)
            #expect(try trial.end() == event)
        }
    }

    @Test("A program that cannot be executed is an end of the launch that says why", arguments: BackendUnderTest.all)
    func tellsLaunchErrors(_ subject: BackendUnderTest) async throws {
        try await trying(subject) { (trial: Trial) async throws -> Void in
            let profile = try subject.broken(trial.bench)
            do {
                await trial.backend.waitUntilEnded(try await trial.start(profile))
                #expect(try trial.end().launchError?.isEmpty == false)
            } catch let error as RuntimeError {
                #expect(error.code == RuntimeError.Code.launchFailed.rawValue)
            }
        }
    }

    @Test("A message goes to the running bot and to no other", arguments: BackendUnderTest.all)
    func delivers(_ subject: BackendUnderTest) async throws {
        try await trying(subject) { (trial: Trial) async throws -> Void in
            let handle = try await trial.start("echo ready; while :; do sleep 0.05; done")
            try await trial.waitForLine("ready")
            // Nothing listens: that is known for sure, so the message may be sent again.
            await #expect(throws: BotChatError.self) {
                try await trial.backend.deliver(handle, url: nil, body: [], timeout: .seconds(5))
            }
            #expect(await trial.backend.isHealthy(handle, chatURL: nil) == false)
            await #expect(throws: BotChatError.notLoopback("http://192.0.2.1/chat")) {
                try await trial.backend.deliver(handle, url: "http://192.0.2.1/chat", body: [], timeout: .seconds(5))
            }
            var other = handle
            other.launchID = "launch-0"
            await #expect(throws: BotChatError.notConnected("the launch is over")) {
                try await trial.backend.deliver(other, url: nil, body: [], timeout: .seconds(5))
            }
            await trial.backend.stop(handle, sequence: StopSequence(steps: []))
            await trial.backend.waitUntilEnded(handle)
        }
    }

    @Test(
        "The configuration is checked, written, told to have changed, and kept where none is given",
        arguments: BackendUnderTest.all
    )
    func prepares(_ subject: BackendUnderTest) async throws {
        try await trying(subject) { (trial: Trial) async throws -> Void in
            let profile = subject.profile(trial.bench, "true")
            func prepare(_ text: String) async throws -> Bool {
                try await trial.backend.prepare(botID: "a", configuration: Array(text.utf8), profile: profile)
            }
            #expect(try await prepare(#"{"a":1}"#))
            #expect(try await prepare(#"{"a":1}"#) == false)
            #expect(try await prepare("") == false)
            #expect(try await prepare(#"{"a":2}"#))
            await #expect(throws: RuntimeError.self) { try await prepare("[1]") }
            #expect(try Files.read(trial.bench.directory("a") + "/config.json") == Array(#"{"a":2}"#.utf8))
        }
    }

    @Test("Removing forgets everything but, if asked, the workspace", arguments: BackendUnderTest.all)
    func removes(_ subject: BackendUnderTest) async throws {
        try await trying(subject) { (trial: Trial) async throws -> Void in
            _ = try await trial.run(#"echo kept > "$BOT_WORKSPACE/file"; ln -s /etc "$HOME/link""#)
            try await trial.backend.remove(botID: "a", keeping: .workspace)
            let directory = trial.bench.directory("a")
            #expect(access(directory + "/config.json", F_OK) != 0 && access(trial.bench.logs("a"), F_OK) != 0)
            #expect(access(directory + "/workspace", F_OK) == 0 && access("/etc/passwd", F_OK) == 0)
            #expect(access(directory + "/workspace/file", F_OK) == 0 || !subject.hasProcesses)
            try await trial.backend.remove(botID: "a", keeping: [])
            #expect(access(directory, F_OK) != 0)
        }
    }
}
