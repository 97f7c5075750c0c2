/// Carries requests to a container engine.
protocol EngineTransport: Sendable {
    /// Returns once the head of the answer is here; any status is an answer.
    ///
    /// The request ends when nobody holds its answer any more.
    ///
    /// - Throws: `EngineError.unreachable` or `.broken`.
    func send(_ request: EngineRequest) async throws(EngineError) -> EngineAnswer
}

/// One request of the Docker Engine API.
struct EngineRequest: Sendable, Equatable {
    var method = "GET"
    /// Path and query, with the version of the API in front where it has one.
    var target: String
    var headers: [String: String] = [:]
    /// JSON; empty for none.
    var body: [UInt8] = []
    /// For the whole exchange; nil for an answer that goes on for as long as something happens.
    var timeout: Duration? = .seconds(30)
}

/// The answer to an `EngineRequest`.
struct EngineAnswer: Sendable {
    var status: Int
    /// Names in lower case.
    var headers: [String: String] = [:]
    /// The body as it comes.
    var body: any EngineBody
}

/// An answer's body, read by one reader.
protocol EngineBody: Sendable {
    /// The next bytes; nil after the last.
    func next() async throws(EngineError) -> [UInt8]?
}

extension EngineBody {
    /// The whole body.
    ///
    /// - Throws: `EngineError.broken` where it is longer than `limitBytes`.
    func collect(limitBytes: Int) async throws(EngineError) -> [UInt8] {
        var whole: [UInt8] = []
        while let bytes = try await next() {
            guard whole.count + bytes.count <= limitBytes else {
                throw .broken("the engine's answer is longer than \(limitBytes) bytes")
            }
            whole += bytes
        }
        return whole
    }
}

/// Why the engine did not do what it was asked.
enum EngineError: Error, Sendable, Equatable {
    /// Nobody takes connections at its socket; says what to do.
    case unreachable(String)
    /// It took the request and gave no whole answer.
    case broken(String)
    /// It refused: the status, and its own words.
    case refused(status: Int, String)
    case cancelled

    var reason: String {
        switch self {
        case .unreachable(let reason), .broken(let reason): reason
        case .refused(_, let message): message
        case .cancelled: "the agent is stopping"
        }
    }

    /// It may work later, without anybody changing anything.
    var isPassing: Bool {
        switch self {
        case .unreachable, .broken, .cancelled: true
        case .refused(let status, _): status >= 500
        }
    }

    var isNotFound: Bool {
        if case .refused(404, _) = self { true } else { false }
    }
}
