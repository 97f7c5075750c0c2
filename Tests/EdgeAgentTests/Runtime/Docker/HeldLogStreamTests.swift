import Glibc
import Synchronization
import Testing
import WireFormat

@testable import EdgeAgent

/// An engine with one container, whose log's stream does what it should not. No real engine can be made to.
private final class OddEngine: EngineTransport {
    enum Oddity {
        /// The stream goes on after the container has ended.
        case holds
        /// The stream ends at once while the container runs.
        case endsAtOnce
    }

    private let oddity: Oddity
    private let isRunning = Mutex(true)
    private let looks = Mutex(0)
    private let changed = Signal()

    init(_ oddity: Oddity) { self.oddity = oddity }

    var followed: Int { looks.withLock { $0 } }

    func end() {
        isRunning.withLock { $0 = false }
        changed.wake()
    }

    /// Answers when told to, or when the request is given up.
    private struct Held: EngineBody {
        let engine: OddEngine

        func next() async throws(EngineError) -> [UInt8]? {
            let never = Signal()
            _ = try? await never.wait(after: never.ticket)
            throw .cancelled
        }
    }

    private final class Body: EngineBody {
        private let bytes: Mutex<[UInt8]?>

        init(_ text: String) { bytes = Mutex(Array(text.utf8)) }

        func next() async throws(EngineError) -> [UInt8]? {
            bytes.withLock { bytes in
                defer { bytes = nil }
                return bytes?.isEmpty == true ? nil : bytes
            }
        }
    }

    func send(_ request: EngineRequest) async throws(EngineError) -> EngineAnswer {
        let target = request.target
        if target == "/version" {
            let version = #"{"ApiVersion":"1.43","MinAPIVersion":"1.12","Version":"24"}"#
            return EngineAnswer(status: 200, body: Body(version))
        }
        if target.hasSuffix("/info") { return EngineAnswer(status: 200, body: Body("{}")) }
        if target.hasSuffix("/wait") {
            while true {
                let ticket = changed.ticket
                if isRunning.withLock({ !$0 }) { return EngineAnswer(status: 200, body: Body(#"{"StatusCode":3}"#)) }
                guard (try? await changed.wait(after: ticket)) != nil else { throw .cancelled }
            }
        }
        if target.contains("/logs?") {
            guard target.contains("follow=1") else { return EngineAnswer(status: 200, body: Body("")) }
            looks.withLock { $0 += 1 }
            changed.wake()
            return EngineAnswer(status: 200, body: oddity == .holds ? Held(engine: self) : Body(""))
        }
        if target.hasSuffix("/json") {
            let state =
                isRunning.withLock { $0 }
                ? #"{"Status":"running","Running":true,"Pid":0}"#
                : #"{"Status":"exited","Running":false,"ExitCode":3}"#
            return EngineAnswer(status: 200, body: Body(#"{"Id":"c","State":\#(state)}"#))
        }
        return EngineAnswer(status: 204, body: Body(""))
    }

    func waitUntilFollowed() async throws {
        while true {
            let ticket = changed.ticket
            if followed > 0 { return }
            try await changed.wait(after: ticket)
        }
    }
}

@Suite("A container whose log's stream is odd", .timeLimit(.minutes(1)))
struct HeldLogStreamTests {
    private func follower(_ engine: OddEngine, _ bench: BotWorkbench) throws -> ContainerFollower {
        let directory = try BotDirectory(root: bench.bots, botID: "a")
        try Files.makeDirectory(directory.control, mode: 0o700)
        try Files.makeDirectory(directory.logs, mode: 0o700)
        var plan = LaunchPlan()
        plan.launchID = "launch"
        return ContainerFollower(
            engine: EngineClient(transport: engine),
            directory: directory,
            plan: plan,
            record: ContainerRecord(launchID: "launch", name: "c", containerID: "c", logOffset: 0, network: "none"),
            lock: open("/dev/null", O_RDONLY),
            limits: [],
            isolation: [],
            notes: LaunchNotes(),
            executor: bench.executor
        )
    }

    @Test("is over when the container is, though the stream is held open")
    func held() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let engine = OddEngine(.holds)
        let follower = try follower(engine, bench)
        await follower.begin()
        try await engine.waitUntilFollowed()
        engine.end()
        await follower.waitUntilEnded()
        #expect(await follower.isOver)
    }

    @Test("is asked again more and more rarely while nothing comes, and its end is seen at once all the same")
    func endsAtOnce() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let engine = OddEngine(.endsAtOnce)
        let follower = try follower(engine, bench)
        await follower.begin()
        // allow-sleep: what is counted is how often something is done in a time
        try await Task.sleep(for: .seconds(2))
        // 20 ms, 40 ms, … : seven looks in 2.5 s, where there were 95 in one.
        #expect(engine.followed <= 8, "\(engine.followed) looks")
        let began = ContinuousClock.now
        engine.end()
        await follower.waitUntilEnded()
        #expect(ContinuousClock.now - began < .seconds(2))
    }
}
