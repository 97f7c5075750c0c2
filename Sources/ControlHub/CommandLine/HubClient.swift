import Foundation
import Synchronization
import WebSocketKitLite

/// A hub's API, as the commands use it.
///
/// Connections are made as the agent makes them: the same authorities, pins and proxies, the same words for what went
/// wrong.
final class HubClient: Sendable {
    /// Which hub is meant.
    enum Place: Sendable {
        /// The one that serves from this data directory. It is looked up for each call, because it may have been started
        /// anew meanwhile.
        case local(directory: String)
        case remote(url: String, token: String, Trust)
    }

    /// How a hub elsewhere is recognised and reached.
    struct Trust: Sendable {
        var caFile: String?
        var pinSHA256: String?
        var allowsInsecure = false
        /// All variables; those of proxies count.
        var environment: [String: String] = [:]
    }

    /// One hub that can be dialed.
    private struct Target: Sendable {
        let url: String
        let endpoint: Endpoint
        let token: String
        let dialer: Dialer
        /// Where it was read from, to notice when that changes.
        var source: LocalHub?
    }

    private static let timeout = Duration.seconds(30)
    /// A page of a list has 500 items at most; this is far more than they take.
    private static let maximumAnswerBytes = 64 << 20
    /// A stream says something every 10 s.
    private static let silenceLimit = Duration.seconds(35)

    private let place: Place
    private let loop: EpollLoop
    private let target = Mutex<Target?>(nil)

    /// Throws `StartFailure` for a URL that cannot be used.
    init(_ place: Place) throws {
        self.place = place
        do {
            loop = try EpollLoop.start()
        } catch {
            throw StartFailure(.software, error.message)
        }
        if case .remote = place { _ = try current() }
    }

    /// Ends its thread. Nothing may be asked afterwards.
    func close() { loop.shutdown() }

    func get(_ path: String) async throws -> JSONValue { try await send("GET", path) }

    /// - Parameter idempotencyKey: makes it safe to send again where the answer was lost.
    func post(
        _ path: String,
        _ body: [String: JSONValue] = [:],
        idempotencyKey: String? = nil
    ) async throws -> JSONValue {
        try await send("POST", path, .object(body), idempotencyKey: idempotencyKey)
    }

    /// Everything of a list, page by page.
    ///
    /// - Parameter limit: stops when there are so many.
    func all(_ path: String, limit: Int = .max) async throws -> [JSONValue] {
        var items: [JSONValue] = []
        var cursor: String?
        repeat {
            let page = try await get(
                Self.path(path, query: ["limit": String(min(limit - items.count, 500)), "cursor": cursor])
            )
            items += page["items"]?.arrayValue ?? []
            cursor = page["next_cursor"]?.stringValue
        } while cursor != nil && items.count < limit
        return items
    }

    /// Sends a request and gives what the hub answers; nothing is `null`. Throws `StartFailure` for what it refuses.
    func send(
        _ method: String,
        _ path: String,
        _ body: JSONValue? = nil,
        idempotencyKey: String? = nil
    ) async throws -> JSONValue {
        let target = try current()
        var request = request(method, path, to: target)
        request.headers.append(name: "Accept", value: "application/json")
        if let body {
            request.headers.append(name: "Content-Type", value: "application/json")
            request.body = Array(try WrittenTexts.encode(body, by: JSONEncoder()))
        }
        if let idempotencyKey { request.headers.append(name: "Idempotency-Key", value: idempotencyKey) }
        let response: HTTPExchange.Response
        do {
            response = try await HTTPExchange.perform(
                request,
                dialer: target.dialer,
                maxBodyBytes: Self.maximumAnswerBytes,
                timeout: Self.timeout
            )
        } catch {
            throw failure(error, target)
        }
        guard (200..<300).contains(response.status) else {
            throw HubRefusal.failure(
                status: response.status,
                headers: response.headers,
                body: response.body,
                of: target.url
            )
        }
        guard !response.body.isEmpty else { return .null }
        guard let answer = try? JSONReader.value(response.body, of: .answer) else {
            throw StartFailure(
                .unavailable,
                "\(target.url) answered \(response.status) with something that is no JSON. Check that the URL is a hub's."
            )
        }
        return answer
    }

    /// Opens a stream of server-sent events and hands them over until `take` says true, or the stream ends.
    ///
    /// - Parameters:
    ///   - lastEventID: after which to go on.
    ///   - deadline: when the stream is given up; nil: never.
    ///   - opened: called when the stream is open; true ends it.
    /// - Returns: whether there was enough; otherwise it was the hub that ended the stream.
    func events(
        _ path: String,
        lastEventID: String?,
        deadline: ContinuousClock.Instant? = nil,
        opened: () async throws -> Bool,
        _ take: (ReceivedEvent) async throws -> Bool
    ) async throws -> Bool {
        let target = try current()
        var request = request("GET", path, to: target)
        request.headers.append(name: "Accept", value: "text/event-stream")
        if let lastEventID { request.headers.append(name: "Last-Event-ID", value: lastEventID) }
        do {
            return try await HTTPExchange.stream(request, dialer: target.dialer, timeout: Self.timeout) { response in
                guard response.status == 200 else {
                    var body: [UInt8] = []
                    while body.count < 64 << 10, let piece = try await response.next(within: Self.timeout) {
                        body += piece
                    }
                    throw HubRefusal.failure(
                        status: response.status,
                        headers: response.headers,
                        body: body,
                        of: target.url
                    )
                }
                if try await opened() { return true }
                var parser = ServerSentEventParser()
                while let bytes = try await response.next(within: Self.patience(deadline)) {
                    for event in try parser.receive(bytes) where try await take(event) { return true }
                }
                return false
            }
        } catch let error as WebSocketError {
            if let deadline, error.code == .timeout, ContinuousClock.now >= deadline { return false }
            throw failure(error, target)
        }
    }

    private static func patience(_ deadline: ContinuousClock.Instant?) -> Duration {
        min(silenceLimit, deadline.map { max(.zero, $0 - .now) } ?? silenceLimit)
    }

    private func request(_ method: String, _ path: String, to target: Target) -> HTTPExchange.Request {
        var endpoint = target.endpoint
        var prefix = endpoint.target
        while prefix.hasSuffix("/") { prefix.removeLast() }
        endpoint.target = prefix + path
        return HTTPExchange.Request(
            method: method,
            endpoint: endpoint,
            headers: ["Authorization": "Bearer \(target.token)", "User-Agent": "control-hub/\(HubVersion.version)"]
        )
    }

    // MARK: The hub

    private func current() throws -> Target {
        switch place {
        case .remote(let url, let token, let trust):
            return try target.withLock { stored in
                if let stored { return stored }
                let new = try Self.target(url, token, trust, loop)
                stored = new
                return new
            }
        case .local(let directory):
            let found = try LocalHub.read(from: directory)
            return try target.withLock { stored in
                if let stored, stored.source == found { return stored }
                var trust = Trust(pinSHA256: found.pinSHA256)
                // The hub listens where it was told to, and said so in a file that nobody else may write.
                trust.allowsInsecure = true
                var new = try Self.target(found.url, found.token, trust, loop)
                new.source = found
                stored = new
                return new
            }
        }
    }

    private static func target(_ url: String, _ token: String, _ trust: Trust, _ loop: EpollLoop) throws -> Target {
        let endpoint: Endpoint
        do {
            endpoint = try Endpoint(url)
        } catch {
            throw StartFailure(.usage, "--url: \(error.message)")
        }
        var configuration = DialConfiguration()
        configuration.tls.caFile = trust.caFile
        configuration.tls.pinSHA256 = trust.pinSHA256.map { [$0] } ?? []
        configuration.tls.systemRoots = trust.caFile == nil && trust.pinSHA256 == nil
        configuration.allowInsecure = trust.allowsInsecure
        if !trust.environment.isEmpty { configuration.proxy = .environment(ProxyEnvironment(trust.environment)) }
        return Target(
            url: url,
            endpoint: endpoint,
            token: token,
            dialer: Dialer(loop: loop, configuration: configuration)
        )
    }

    private func failure(_ error: WebSocketError, _ target: Target) -> StartFailure {
        switch error.code {
        case .invalidURL, .insecureURL, .misuse, .invalidProxy, .tlsConfiguration:
            return StartFailure(.usage, error.message)
        case .timeout:
            return StartFailure(
                .unavailable,
                "\(target.url) did not answer in time: \(error.message). What was asked may have been done all the same."
            )
        default:
            break
        }
        guard case .local(let directory) = place, error.code == .tcpRefused else {
            return StartFailure(.unavailable, "\(target.url) cannot be reached: \(error.message)")
        }
        return StartFailure(
            .unavailable,
            "the hub that served from \(directory) is away: nothing listens on \(target.url). Start it with "
                + "`control-hub serve`."
        )
    }

    // MARK: Paths

    /// A part of a path or a value of a query.
    static func escaped(_ text: String) -> String {
        // Every character that RFC 3986 calls unreserved stays.
        text.utf8.reduce(into: "") { result, byte in
            let character = Character(UnicodeScalar(byte))
            if byte < 0x80, character.isLetter || character.isNumber || "-._~".contains(character) {
                result.append(character)
            } else {
                result += (byte < 16 ? "%0" : "%") + String(byte, radix: 16, uppercase: true)
            }
        }
    }

    /// A path with what is given of a query.
    static func path(_ path: String, query: KeyValuePairs<String, String?>) -> String {
        var result = path
        for case (let name, let value?) in query {
            result += (result.contains("?") ? "&" : "?") + name + "=" + escaped(value)
        }
        return result
    }
}

/// What a hub says of a call that it refuses, as the end of a command.
enum HubRefusal {
    static func failure(status: Int, headers: HeaderFields, body: [UInt8], of url: String) -> StartFailure {
        // `try?`: what is no problem document is told by its status.
        let problem = try? JSONDecoder().decode(JSONValue.self, from: Data(body))
        guard let detail = problem?["detail"]?.stringValue else {
            return StartFailure(
                .unavailable,
                "\(url) answered \(status); " + (HTTPStatusHint.text(status) ?? "check that the URL is a hub's") + "."
            )
        }
        let advice = CommandLineAdvice.translated(detail)
        let code = problem?["code"]?.stringValue ?? ""
        let wait = headers["Retry-After"].map { " Try again in \($0) s." } ?? ""
        switch status {
        case 401:
            return StartFailure(
                .noPermission,
                "\(url) does not accept the token: it is wrong, revoked or expired. \(advice)"
            )
        case 403: return StartFailure(.noPermission, advice)
        case 404: return StartFailure(.notFound, advice)
        case 400, 413, 422: return StartFailure(.usage, advice)
        case 429, 500...: return StartFailure(.temporaryFailure, advice + wait)
        case 409 where ["node_offline", "request_in_progress", "stale_session"].contains(code):
            return StartFailure(.temporaryFailure, advice + wait)
        default: return StartFailure(.refused, advice)
        }
    }
}
