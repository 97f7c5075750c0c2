import FoundationEssentials
import Synchronization
import WireFormat

@testable import EdgeAgent

/// What was said to a real engine in one test and what it answered, in the order in which it happened: a file of JSON
/// lines below `Recordings`. `EDGE_TEST_RECORD=1` with a real engine writes them anew.
struct EngineRecording {
    enum Kind: String, Codable {
        case request, head, body, end, failure
        /// Something the test did that the container sees.
        case mark
    }

    struct Event: Codable {
        var kind: Kind
        /// Numbers the exchange.
        var exchange: Int
        var method: String?
        var target: String?
        var status: Int?
        /// Of a body; as text where that is all it holds.
        var text: String?
        var bytes: Data?
        /// The packet prefix the container was given.
        var prefix: String?
    }

    var events: [Event] = []

    static func file(_ test: String) -> String {
        let here = #filePath.split(separator: "/").dropLast(1).joined(separator: "/")
        return "/\(here)/Recordings/\(test.prefix { $0 != "(" }).jsonl"
    }

    init() {}

    init?(test: String) {
        guard let bytes = try? Files.read(Self.file(test)) else { return nil }
        for line in bytes.split(separator: UInt8(ascii: "\n")) {
            guard let event = try? JSONDecoder().decode(Event.self, from: Data(line)) else { return nil }
            events.append(event)
        }
    }

    /// What is kept of what the engine tells about itself: the rest describes the machine it ran on.
    private struct Facts: Codable {
        var Version, ApiVersion, MinAPIVersion, CgroupVersion: String?
        var MemoryLimit, CpuCfsQuota, PidsLimit: Bool?
    }

    func write(test: String) throws {
        let about = Set(
            events.filter { $0.target?.hasSuffix("/version") == true || $0.target?.hasSuffix("/info") == true }.map(
                \.exchange
            )
        )
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        var lines: [UInt8] = []
        for var event in events {
            if about.contains(event.exchange), let text = event.text {
                let facts = try JSONDecoder().decode(Facts.self, from: Data(text.utf8))
                event.text = String(decoding: try encoder.encode(facts), as: UTF8.self)
            }
            lines += Array(try encoder.encode(event)) + [UInt8(ascii: "\n")]
        }
        try Files.replace(Self.file(test), with: lines, mode: 0o644)
    }

    /// The prefix among the variables of a container that is being made.
    static func prefix(_ body: [UInt8]) -> String? {
        struct Body: Decodable {
            var variables: [String]

            enum CodingKeys: String, CodingKey {
                case variables = "Env"
            }
        }
        let body = try? JSONDecoder().decode(Body.self, from: Data(body))
        let name = "BOT_PACKET_PREFIX="
        return body?.variables.first { $0.hasPrefix(name) }.map { String($0.dropFirst(name.count)) }
    }
}

/// Passes everything on to a real engine and writes it down.
final class RecordingTransport: EngineTransport {
    private let next: any EngineTransport
    private let recording = Mutex((EngineRecording(), 0))

    init(_ next: any EngineTransport) {
        self.next = next
    }

    func note(_ event: EngineRecording.Event) {
        recording.withLock { $0.0.events.append(event) }
    }

    func mark() {
        note(.init(kind: .mark, exchange: -1))
    }

    func write(test: String) throws {
        try recording.withLock { try $0.0.write(test: test) }
    }

    func send(_ request: EngineRequest) async throws(EngineError) -> EngineAnswer {
        let exchange = recording.withLock { state in
            state.1 += 1
            return state.1
        }
        note(
            .init(
                kind: .request,
                exchange: exchange,
                method: request.method,
                target: request.target,
                prefix: EngineRecording.prefix(request.body)
            )
        )
        do throws(EngineError) {
            let answer = try await next.send(request)
            note(.init(kind: .head, exchange: exchange, status: answer.status))
            return EngineAnswer(
                status: answer.status,
                headers: answer.headers,
                body: RecordedBody(exchange: exchange, next: answer.body, transport: self)
            )
        } catch {
            note(.init(kind: .failure, exchange: exchange))
            throw error
        }
    }

    private struct RecordedBody: EngineBody {
        let exchange: Int
        let next: any EngineBody
        let transport: RecordingTransport

        func next() async throws(EngineError) -> [UInt8]? {
            let bytes = try await next.next()
            var event = EngineRecording.Event(kind: bytes == nil ? .end : .body, exchange: exchange)
            if let bytes {
                let isText = !bytes.contains { $0 < 0x20 && $0 != UInt8(ascii: "\n") }
                event.text = isText ? String(validating: bytes, as: UTF8.self) : nil
                if event.text == nil { event.bytes = Data(bytes) }
            }
            transport.note(event)
            return bytes
        }
    }
}

/// Answers as the engine did when the recording was made.
///
/// What an answer says may be the effect of something that was asked or done before it: it is held back until as many
/// requests that change something, and marks, have come as had come then. Questions are answered in the order in which the
/// same question was asked then; the last answer serves for any more.
final class ReplayedEngine: EngineTransport {
    private struct Exchange {
        var key: String
        var status = 0
        /// Each with the number of causes that came before it.
        var headAfter = 0
        var pieces: [(bytes: [UInt8], after: Int)] = []
        var endAfter = Int.max
        var hasFailed = false
    }

    private struct State {
        var exchanges: [Exchange] = []
        var taken: Set<Int> = []
        var causes = 0
        var recordedPrefix = ""
        var prefix = ""
    }

    private let state: Mutex<State>
    private let changed = Signal()

    init(_ recording: EngineRecording) {
        var state = State()
        var indices: [Int: Int] = [:]
        var causes = 0
        for event in recording.events {
            let index = indices[event.exchange]
            switch event.kind {
            case .mark: causes += 1
            case .request:
                indices[event.exchange] = state.exchanges.count
                state.exchanges.append(Exchange(key: Self.key(event.method ?? "", event.target ?? "")))
                if let prefix = event.prefix { state.recordedPrefix = prefix }
                if Self.isCause(event.method ?? "", event.target ?? "") { causes += 1 }
            case .head:
                guard let index else { continue }
                state.exchanges[index].status = event.status ?? 0
                state.exchanges[index].headAfter = causes
            case .body:
                guard let index else { continue }
                let bytes = event.text.map { Array($0.utf8) } ?? Array(event.bytes ?? Data())
                state.exchanges[index].pieces.append((bytes, causes))
            case .end:
                if let index { state.exchanges[index].endAfter = causes }
            case .failure:
                if let index { state.exchanges[index].hasFailed = true }
            }
        }
        self.state = Mutex(state)
    }

    /// What differs from run to run is left out: times, and names made from directories.
    private static func key(_ method: String, _ target: String) -> String {
        let parts = target.split(separator: "?", maxSplits: 1)
        let varying: Set<Substring> = ["since", "name", "filters"]
        let query = (parts.count > 1 ? parts[1] : "").split(separator: "&").map { parameter in
            let name = parameter.prefix { $0 != "=" }
            return varying.contains(name) ? String(name) : String(parameter)
        }
        return "\(method) \(parts[0])?\(query.joined(separator: "&"))"
    }

    /// Whether a request changes something; to wait for a container's end does not, though it is asked by POST.
    private static func isCause(_ method: String, _ target: String) -> Bool {
        method != "GET" && !target.hasSuffix("/wait")
    }

    func mark() {
        state.withLock { $0.causes += 1 }
        changed.wake()
    }

    func send(_ request: EngineRequest) async throws(EngineError) -> EngineAnswer {
        let key = Self.key(request.method, request.target)
        let index = state.withLock { state -> Int? in
            if let prefix = EngineRecording.prefix(request.body) { state.prefix = prefix }
            if Self.isCause(request.method, request.target) { state.causes += 1 }
            let same = state.exchanges.indices.filter {
                state.exchanges[$0].key == key && !state.exchanges[$0].hasFailed
            }
            let next = same.first { !state.taken.contains($0) } ?? same.last
            if let next { state.taken.insert(next) }
            return next
        }
        changed.wake()
        guard let index else { throw .refused(status: 404, "the recording has no answer to \(key)") }
        let exchange = state.withLock { $0.exchanges[index] }
        try await wait(for: exchange.headAfter)
        return EngineAnswer(status: exchange.status, body: Body(engine: self, exchange: exchange))
    }

    private func wait(for causes: Int) async throws(EngineError) {
        while true {
            let ticket = changed.ticket
            if state.withLock({ $0.causes >= causes }) { return }
            guard (try? await changed.wait(after: ticket)) != nil else { throw .cancelled }
        }
    }

    private final class Body: EngineBody {
        private let engine: ReplayedEngine
        private let exchange: Exchange
        private let position = Mutex(0)

        init(engine: ReplayedEngine, exchange: Exchange) {
            self.engine = engine
            self.exchange = exchange
        }

        func next() async throws(EngineError) -> [UInt8]? {
            let index = position.withLock { position in
                defer { position += 1 }
                return position
            }
            guard index < exchange.pieces.count else {
                try await engine.wait(for: exchange.endAfter)
                return nil
            }
            let piece = exchange.pieces[index]
            try await engine.wait(for: piece.after)
            let (old, new) = engine.state.withLock { ($0.recordedPrefix, $0.prefix) }
            return old.isEmpty ? piece.bytes : piece.bytes.replacing(old.utf8, with: new.utf8)
        }
    }
}
