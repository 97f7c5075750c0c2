import FoundationEssentials
import Synchronization
import Testing
import WireFormat

@testable import EdgeAgent

/// The real engine that `scripts/docker-test.sh` starts for tests, in a network namespace of its own.
enum TestEngine {
    /// Its socket; nil where there is none to test with.
    static let socket = ProcessInfo.processInfo.environment["EDGE_TEST_DOCKER_SOCKET"]
    /// `host:port` of a registry on loopback that wants a password, and the file with the credentials for it.
    static let registry = ProcessInfo.processInfo.environment["EDGE_TEST_REGISTRY"]
    static let credentials = ProcessInfo.processInfo.environment["EDGE_TEST_REGISTRY_CREDENTIALS"]
    static let image = "busybox:test"

    static let isMissing: Comment =
        "no container engine to test with; make docker-test installs one and runs these (67 MB)"

    static func transport() throws -> CurlTransport {
        CurlTransport(socketPath: try #require(socket))
    }
}

extension BotWorkbench {
    func container(_ script: String, _ settings: ContainerSettings? = nil) -> RuntimeProfile {
        var profile = RuntimeProfile(
            name: "default",
            backend: .docker,
            command: CommandTemplate(words: ["/bin/sh", "-c", script, "bot"])
        )
        profile.container = settings ?? ContainerSettings(image: TestEngine.image)
        return profile
    }

    /// Returns once the log holds so many records, or this line.
    func waitForRecords(_ count: Int, unless line: String) async throws {
        let changes = try FileChangeNotifier()
        for await _ in try changes.changes(in: logs("a")) {
            let records = records()
            if records.count >= count || records.contains(where: { $0.string == line }) { return }
        }
    }

    /// Returns once the bot's container is as wanted, by the engine's own word.
    func waitForContainer(
        _ botID: String,
        _ condition: (EngineModels.Container.State) -> Bool
    ) async throws {
        let record = try #require(ContainerRecord.read(try BotDirectory(root: bots, botID: botID)))
        let engine = EngineClient(transport: try TestEngine.transport())
        while true {
            if condition(try await engine.inspect(record.reference).state) { return }
            // allow-sleep: the engine is asked again and again; its events are not part of the client
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    func docker(
        _ engine: any EngineTransport,
        transport: (any BotChatTransport)? = nil,
        credentials: String = "/nowhere/config.json"
    ) throws -> DockerRuntimeBackend {
        DockerRuntimeBackend(
            botsDirectory: bots,
            engine: engine,
            transport: try transport ?? Self.loopback(),
            credentials: RegistryCredentials(file: credentials),
            environment: ["LANG": "C.UTF-8", "SECRET_OF_THE_AGENT": "1"],
            executor: executor
        )
    }
}

extension LaunchNotes {
    /// Returns once the notes are as wanted.
    func wait(_ condition: (LaunchNotes) -> Bool) async throws {
        while true {
            let ticket = changed.ticket
            if condition(self) { return }
            try await changed.wait(after: ticket)
        }
    }
}

/// A way to the engine that can be cut.
final class InterruptedTransport: EngineTransport {
    private let next: any EngineTransport
    private let state = Mutex(false)

    init(_ next: any EngineTransport) {
        self.next = next
    }

    var isAway: Bool {
        get { state.withLock { $0 } }
        set { state.withLock { $0 = newValue } }
    }

    func send(_ request: EngineRequest) async throws(EngineError) -> EngineAnswer {
        guard !isAway else { throw .unreachable("the container engine does not run") }
        return try await next.send(request)
    }
}

extension BackendUnderTest {
    /// The backend for containers, with a real engine where there is one.
    static let docker: [BackendUnderTest] = [replayed] + (TestEngine.socket == nil ? [] : [real])

    private static let real = BackendUnderTest.docker(name: "docker") { try EngineSession.of($0).engine() }

    /// Without an engine, against what a real one answered.
    private static let replayed: BackendUnderTest = {
        var subject = BackendUnderTest.docker(name: "docker, recorded") {
            try EngineSession.of($0, isReplayed: true).engine()
        }
        subject.hasProcesses = false
        return subject
    }()

    static func docker(
        name: String,
        engine: @escaping @Sendable (BotWorkbench) throws -> any EngineTransport
    ) -> BackendUnderTest {
        BackendUnderTest(
            kind: .docker,
            make: { try $0.docker(try engine($0)) },
            profile: { $0.container($1) },
            broken: { bench in
                var profile = bench.container("")
                profile.command = CommandTemplate(words: ["/does/not/exist"])
                return profile
            },
            leave: { await ($0 as? DockerRuntimeBackend)?.leave() },
            mark: { EngineSession.of($0).mark() },
            finish: { try EngineSession.of($0).finish() },
            chatHost: "0.0.0.0",
            name: name
        )
    }
}

/// One test's way to its engine, for every backend the test makes.
final class EngineSession: Sendable {
    private static let sessions = Mutex<[String: EngineSession]>([:])
    private static let isRecording = ProcessInfo.processInfo.environment["EDGE_TEST_RECORD"] != nil

    private let test: String
    private let bench: String
    private let isReplayed: Bool
    private let way = Mutex<(any EngineTransport)?>(nil)

    private init(_ bench: String, isReplayed: Bool) {
        self.bench = bench
        self.isReplayed = isReplayed
        test = Test.current?.name ?? ""
    }

    static func of(_ bench: BotWorkbench, isReplayed: Bool = false) -> EngineSession {
        sessions.withLock { sessions in
            let session = sessions[bench.path] ?? EngineSession(bench.path, isReplayed: isReplayed)
            sessions[bench.path] = session
            return session
        }
    }

    func engine() throws -> any EngineTransport {
        if let known = way.withLock({ $0 }) { return known }
        let made: any EngineTransport
        if isReplayed {
            made = ReplayedEngine(try #require(EngineRecording(test: test), "no recording of \(test)"))
        } else {
            let real = try TestEngine.transport()
            made = Self.isRecording ? RecordingTransport(real) : real
        }
        way.withLock { $0 = made }
        return made
    }

    func mark() {
        let way = way.withLock { $0 }
        (way as? RecordingTransport)?.mark()
        (way as? ReplayedEngine)?.mark()
    }

    func finish() throws {
        Self.sessions.withLock { $0[bench] = nil }
        try (way.withLock { $0 } as? RecordingTransport)?.write(test: test)
    }
}
