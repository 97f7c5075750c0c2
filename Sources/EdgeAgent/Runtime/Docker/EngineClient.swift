import FoundationEssentials

/// The calls of the Docker Engine API that running bots takes. The version is agreed on with the first call, and anew
/// after the engine was away: it may have been upgraded.
actor EngineClient {
    /// No document the engine gives about one container or image is longer.
    private static let documentBytes = 4 << 20
    /// A question that is asked while somebody waits for a status.
    static let quickTimeout = Duration.seconds(5)
    /// For the engine to reach a registry far away.
    private static let registryTimeout = Duration.seconds(15)

    /// What is known about the engine.
    struct Facts: Sendable, Equatable {
        var version: EngineAPIVersion
        var engineVersion: String
        var info: EngineModels.Info

        var description: String { "Docker Engine \(engineVersion), API \(version)" }
    }

    private let transport: any EngineTransport
    private var facts: Facts?

    init(transport: any EngineTransport) {
        self.transport = transport
    }

    // MARK: The engine

    /// Agrees on a version.
    @discardableResult
    func negotiate() async throws(EngineError) -> Facts {
        if let facts { return facts }
        let request = EngineRequest(target: "/version", timeout: Self.quickTimeout)
        let version: EngineModels.Version = try await document(try await ask(request))
        let agreed = try EngineAPIVersion.negotiate(with: version)
        let infoRequest = EngineRequest(target: "/v\(agreed)/info", timeout: Self.quickTimeout)
        let info: EngineModels.Info = try await document(try await ask(infoRequest))
        let facts = Facts(version: agreed, engineVersion: version.engine ?? "", info: info)
        self.facts = facts
        return facts
    }

    // MARK: Images

    /// Nil where the image is not here.
    func image(_ name: String) async throws(EngineError) -> EngineModels.Image? {
        do throws(EngineError) {
            return try await get("/images/\(URLText.path(name))/json")
        } catch {
            guard error.isNotFound else { throw error }
            return nil
        }
    }

    /// Begins to pull; the answer's body is a row of JSON objects, see `PullProgress`.
    func pull(_ image: ImageReference, authorization: String?) async throws(EngineError) -> any EngineBody {
        var query = [("fromImage", image.pullName)]
        if let tag = image.digest ?? image.tag { query.append(("tag", tag)) }
        var request = try await request("POST", "/images/create", query)
        if let authorization { request.headers["X-Registry-Auth"] = authorization }
        request.timeout = nil
        return try await ask(request).body
    }

    /// Has the engine ask the image's registry whether that has it. An engine before API 1.30 cannot be asked.
    func requireInRegistry(_ image: ImageReference, authorization: String?) async throws(EngineError) {
        guard try await negotiate().version >= EngineAPIVersion(1, 30) else { return }
        let tag = image.digest.map { "@\($0)" } ?? image.tag.map { ":\($0)" } ?? ""
        var request = try await request("GET", "/distribution/\(URLText.path(image.pullName + tag))/json")
        if let authorization { request.headers["X-Registry-Auth"] = authorization }
        request.timeout = Self.registryTimeout
        _ = try await ask(request)
    }

    // MARK: Containers

    func create(name: String, _ specification: ContainerSpecification) async throws(EngineError) -> EngineModels.Created
    {
        var request = try await request("POST", "/containers/create", [("name", name)])
        do {
            request.body = Array(try JSONEncoder().encode(specification))
        } catch {
            throw .broken("the container cannot be described: \(error)")
        }
        return try await document(try await ask(request))
    }

    func start(_ container: String) async throws(EngineError) {
        try await post("/containers/\(container)/start", timeout: .seconds(60))
    }

    /// Not an error where the container does not run any more. A paused one is made to go on: some engines let no signal
    /// through to it, and no process could act on one.
    func kill(_ container: String, signal: String) async throws(EngineError) {
        for attempt in 0..<2 {
            do throws(EngineError) {
                return try await post("/containers/\(container)/kill", [("signal", signal)])
            } catch {
                if error.isNotFound { return }
                guard case .refused(409, _) = error else { throw error }
                // The same status for one that does not run and for one that cannot be reached.
                let state: EngineModels.Container.State
                do throws(EngineError) {
                    state = try await inspect(container).state
                } catch {
                    if error.isNotFound { return }
                    throw error
                }
                guard state.running || state.isPaused else { return }
                guard state.isPaused, attempt == 0 else { throw error }
                try await post("/containers/\(container)/unpause")
            }
        }
    }

    /// Removes the container and its anonymous volumes, running or not. Not an error where it is gone.
    func remove(_ container: String) async throws(EngineError) {
        do throws(EngineError) {
            let request = try await request("DELETE", "/containers/\(container)", [("force", "1"), ("v", "1")])
            _ = try await ask(request)
        } catch {
            switch error {
            // 409: it is being removed already.
            case .refused(404, _), .refused(409, _): return
            default: throw error
            }
        }
    }

    func inspect(_ container: String) async throws(EngineError) -> EngineModels.Container {
        try await get("/containers/\(container)/json")
    }

    /// Returns once the container does not run, at once where it does not.
    func waitForEnd(_ container: String) async throws(EngineError) {
        var request = try await request("POST", "/containers/\(container)/wait")
        // For as long as it runs.
        request.timeout = nil
        _ = try await ask(request).body.collect(limitBytes: Self.documentBytes)
    }

    /// Every container, also stopped ones, with these labels.
    func containers(labels: [String: String]) async throws(EngineError) -> [EngineModels.Listed] {
        let wanted = labels.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
        let filter = "{\"label\":[" + wanted.map(JSONText.quoted).joined(separator: ",") + "]}"
        return try await get("/containers/json", [("all", "1"), ("filters", filter)])
    }

    /// What the container wrote, see `EngineLogDecoder`.
    ///
    /// - Parameters:
    ///   - since: milliseconds since 1970; nothing older comes. 0 for all.
    ///   - follow: the body goes on until the container ends.
    func logs(_ container: String, since: UInt64, follow: Bool) async throws(EngineError) -> any EngineBody {
        var query = [("stdout", "1"), ("stderr", "1"), ("timestamps", "1"), ("follow", follow ? "1" : "0")]
        if since > 0 {
            let milliseconds = String(since % 1_000 + 1_000).dropFirst()
            query.append(("since", "\(since / 1_000).\(milliseconds)000000"))
        }
        var request = try await request("GET", "/containers/\(container)/logs", query)
        request.timeout = nil
        return try await ask(request).body
    }

    /// One sample of what the container uses.
    func stats(_ container: String) async throws(EngineError) -> ContainerStats {
        let version = try await negotiate().version
        var query = [("stream", "0")]
        // Without it the engine waits a second to measure processor time twice.
        if version >= EngineAPIVersion(1, 41) { query.append(("one-shot", "1")) }
        var request = try await request("GET", "/containers/\(container)/stats", query)
        request.timeout = Self.quickTimeout
        return try await document(try await ask(request))
    }

    // MARK: Exchanges

    private func request(
        _ method: String,
        _ path: String,
        _ query: [(String, String)] = []
    ) async throws(EngineError) -> EngineRequest {
        let version = try await negotiate().version
        let parameters = query.map { "\($0.0)=\(URLText.query($0.1))" }.joined(separator: "&")
        return EngineRequest(method: method, target: "/v\(version)\(path)" + (query.isEmpty ? "" : "?\(parameters)"))
    }

    private func get<Document: Decodable>(
        _ path: String,
        _ query: [(String, String)] = []
    ) async throws(EngineError) -> Document {
        var request = try await request("GET", path, query)
        request.timeout = Self.quickTimeout
        return try await document(try await ask(request))
    }

    private func post(
        _ path: String,
        _ query: [(String, String)] = [],
        timeout: Duration = .seconds(30)
    ) async throws(EngineError) {
        var request = try await request("POST", path, query)
        request.timeout = timeout
        _ = try await ask(request)
    }

    /// The answer, unless it refuses.
    private func ask(_ request: EngineRequest) async throws(EngineError) -> EngineAnswer {
        let answer: EngineAnswer
        do throws(EngineError) {
            answer = try await transport.send(request)
        } catch {
            if error != .cancelled { facts = nil }
            throw error
        }
        guard answer.status < 400 else {
            let body = (try? await answer.body.collect(limitBytes: Self.documentBytes)) ?? []
            let told = (try? OutsideJSON.decode(EngineModels.Refusal.self, from: body))?.message
            let message = told ?? String(decoding: body.prefix(300), as: UTF8.self)
            if answer.status == 400, message.contains("API version") || message.contains("client version") {
                facts = nil
            }
            throw .refused(status: answer.status, message.split(whereSeparator: \.isNewline).joined(separator: " "))
        }
        return answer
    }

    private func document<Document: Decodable>(_ answer: EngineAnswer) async throws(EngineError) -> Document {
        let body = try await answer.body.collect(limitBytes: Self.documentBytes)
        do {
            // fits: processor time in nanoseconds goes beyond 2^53, and is only divided; the rest is not computed with.
            return try JSONDecoder().decode(Document.self, from: Data(body))
        } catch {
            throw .broken("the container engine's answer is not what its API describes: \(error)")
        }
    }
}

/// Percent-encoding (RFC 3986 §2.1).
enum URLText {
    static func query(_ text: String) -> String { encode(text, keeping: "-._~") }

    /// Keeps the slashes of an image's name.
    static func path(_ text: String) -> String { encode(text, keeping: "-._~/:@") }

    private static func encode(_ text: String, keeping kept: String) -> String {
        let digits = Array("0123456789ABCDEF".utf8)
        var result: [UInt8] = []
        for byte in text.utf8 {
            let isPlain = (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
            if isPlain || kept.utf8.contains(byte) {
                result.append(byte)
            } else {
                result += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: result, as: UTF8.self)
    }
}

extension ImageReference {
    /// Registry and path, as the engine takes them in `fromImage`.
    var pullName: String { "\(registry)/\(path)" }
}
