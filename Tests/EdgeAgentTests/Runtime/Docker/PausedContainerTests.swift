import Synchronization
import Testing

@testable import EdgeAgent

/// An engine that has one container and lets no signal through while it is paused, as some do.
private final class FakeEngine: EngineTransport {
    struct State {
        var status = "running"
        var canUnpause = true
        var signals: [String] = []
        var requests: [String] = []
    }

    final class Body: EngineBody {
        private let bytes: Mutex<[UInt8]?>

        init(_ bytes: [UInt8]) { self.bytes = Mutex(bytes) }

        func next() async throws(EngineError) -> [UInt8]? {
            bytes.withLock { bytes in
                defer { bytes = nil }
                return bytes
            }
        }
    }

    let state: Mutex<State>

    init(_ state: State) { self.state = Mutex(state) }

    func send(_ request: EngineRequest) async throws(EngineError) -> EngineAnswer {
        let (status, text) = state.withLock { state -> (Int, String) in
            let target = request.target
            state.requests.append("\(request.method) \(target.split(separator: "/").last ?? "")")
            if target == "/version" { return (200, #"{"ApiVersion":"1.43","MinAPIVersion":"1.12","Version":"24"}"#) }
            if target.hasSuffix("/info") { return (200, "{}") }
            if target.hasSuffix("/json") {
                let isRunning = ["running", "paused"].contains(state.status)
                return (200, #"{"Id":"c","State":{"Status":"\#(state.status)","Running":\#(isRunning)}}"#)
            }
            if target.hasSuffix("/unpause") {
                guard state.canUnpause, state.status == "paused" else { return (500, #"{"message":"frozen"}"#) }
                state.status = "running"
                return (204, "")
            }
            guard state.status == "running" else {
                return (409, #"{"message":"container is \#(state.status)"}"#)
            }
            state.signals.append(String(target.split(separator: "=").last ?? ""))
            return (204, "")
        }
        return EngineAnswer(status: status, body: Body(Array(text.utf8)))
    }
}

@Suite("A paused container")
struct PausedContainerTests {
    @Test("goes on to take its signal")
    func goesOn() async throws {
        let engine = FakeEngine(.init(status: "paused"))
        try await EngineClient(transport: engine).kill("c", signal: "SIGTERM")
        #expect(engine.state.withLock { $0.signals } == ["SIGTERM"])
    }

    @Test("that cannot go on is told, with the engine's words; one that does not run is no error")
    func told() async throws {
        let stuck = FakeEngine(.init(status: "paused", canUnpause: false))
        let error = await #expect(throws: EngineError.self) {
            try await EngineClient(transport: stuck).kill("c", signal: "SIGKILL")
        }
        #expect(error?.reason == "frozen")
        for status in ["exited", "dead", "created"] {
            let engine = FakeEngine(.init(status: status))
            try await EngineClient(transport: engine).kill("c", signal: "SIGKILL")
            #expect(engine.state.withLock { $0.requests.contains("POST unpause") } == false)
        }
    }

    @Test("is asked nothing more where it is not paused")
    func asks() async throws {
        let engine = FakeEngine(.init())
        try await EngineClient(transport: engine).kill("c", signal: "SIGTERM")
        #expect(engine.state.withLock { $0.requests.count } == 3, "version, info, kill")
    }

    @Test("on trial has not ended where the engine refuses to kill it")
    func onTrial() {
        func status(_ line: String) -> String? { LeaseGuard.status(Array(line.utf8)) }
        #expect(LeaseGuard.verdict(killed: status("HTTP/1.1 204 No Content\r\n")) == .ended)
        #expect(LeaseGuard.verdict(killed: status("HTTP/1.0 404 Not Found\r\n")) == .ended)
        #expect(LeaseGuard.verdict(killed: status("HTTP/1.0 409 Conflict\r\n")) == .refused)
        for line in ["HTTP/1.0 500 x\r\n", "junk", "", "204"] {
            #expect(LeaseGuard.verdict(killed: status(line)) == .unknown)
        }
        #expect(LeaseGuard.isResumed("204") && LeaseGuard.isResumed(nil))
        for answer in ["304", "404", "409", "500"] { #expect(!LeaseGuard.isResumed(answer)) }
    }
}
