import AsyncHTTPClient
import Foundation
import Glibc
import NIOCore
import NIOHTTP1
import NIOSSL

/// A folder of its own for one test, and what is started in it.
final class Workbench: Sendable {
    let folder: URL

    init() throws {
        folder = FileManager.default.temporaryDirectory.appending(path: "e2e-\(UUID().uuidString.prefix(8))")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    }

    /// Bots outlive their agent on purpose, so whatever still runs out of this folder is ended here.
    deinit {
        for pid in Self.processes(naming: folder.path) { kill(pid, SIGKILL) }
        try? FileManager.default.removeItem(at: folder)  // a leftover in the temporary folder harms nobody
    }

    private static func processes(naming path: String) -> [pid_t] {
        let all = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        return all.compactMap { pid_t($0) }.filter { pid in
            guard pid != getpid(),
                let line = try? String(contentsOfFile: "/proc/\(pid)/cmdline", encoding: .utf8)  // ended meanwhile
            else { return false }
            return line.contains(path)
        }
    }

    var hubData: URL { folder.appending(path: "hub") }

    /// Starts a hub on a free port with short intervals and waits until it is ready.
    func startHub(port: Int = 0, environment: [String: String] = [:]) async throws -> Hub {
        let address = hubData.appending(path: "hub.address")
        try? FileManager.default.removeItem(at: address)  // absent at the first start
        let program = try Program(
            "control-hub",
            ["serve", "--listen", "127.0.0.1:\(port)", "--data-dir", hubData.path],
            environment: environment.merging(["HUB_HEARTBEAT_INTERVAL": "1s"]) { given, _ in given },
            in: folder
        )
        let bound = try await eventually("the hub writes its address", or: { program.text }) {
            try? String(contentsOf: address, encoding: .utf8).trimmingCharacters(in: .whitespacesAndNewlines)
        }
        let hub = Hub(program: program, address: bound, data: hubData, folder: folder)
        try await hub.waitUntilReady()
        return hub
    }

    /// Starts an agent on its own state directory.
    func startAgent(
        _ arguments: [String] = [],
        state: String = "agent",
        environment: [String: String] = [:]
    ) throws -> Program {
        try Program(
            "edge-agent",
            ["run", "--state-dir", folder.appending(path: state).path] + arguments,
            environment: environment.merging(["EDGE_NATIVE_COMMAND": Self.sampleBot]) { given, _ in given },
            in: folder
        )
    }

    /// The profiles of a node whose bots keep their books beside what is tested: outside of their own directory.
    static func openProfiles(_ command: String) -> String {
        let quoted = command.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"")
        return #"{"default": {"command": "\#(quoted)", "isolation": false}}"#
    }

    static let sampleBot =
        "/usr/bin/env python3 \(Program.checkout.path)/samples/bot/sample-bot --config {config} --workspace {workspace}"
}

/// A running hub and an operator's access to it.
final class Hub: Sendable {
    let program: Program
    /// `host:port`.
    let address: String
    let data: URL
    private let folder: URL

    init(program: Program, address: String, data: URL, folder: URL) {
        self.program = program
        self.address = address
        self.data = data
        self.folder = folder
    }

    var url: String { "https://\(address)" }
    var port: Int { Int(address.split(separator: ":").last ?? "") ?? 0 }
    var authority: String { data.appending(path: "tls/ca.pem").path }

    func waitUntilReady() async throws {
        let client = try API(hub: self, token: nil)
        defer { client.close() }
        try await eventually("the hub is ready", or: { self.program.text }) {
            try await client.send("GET", "/readyz").status == 200 ? () : nil
        }
    }

    /// An API client with a fresh admin token.
    func admin() async throws -> API {
        let name = "e2e-\(UInt32.random(in: 0 ... .max))"
        let added = try await run(
            "control-hub",
            ["operator", "add", name, "--role", "admin", "--json", "--data-dir", data.path],
            in: folder
        )
        guard added.status == 0, let token = try JSON(parsing: added.text)["token"].string else {
            throw Failure("operator add failed: \(added.text)")
        }
        return try API(hub: self, token: token)
    }

    /// A fresh one-time code.
    func enrollmentCode(_ more: [String] = []) async throws -> String {
        let made = try await run(
            "control-hub",
            ["enrollment", "create", "--json", "--data-dir", data.path] + more,
            in: folder
        )
        guard made.status == 0, let code = try JSON(parsing: made.text)["code"].string else {
            throw Failure("enrollment create failed: \(made.text)")
        }
        return code
    }
}

/// The hub's API as a script would call it: over TLS, with the hub's own authority and a bearer token.
final class API: Sendable {
    private let client: HTTPClient
    private let base: String
    let token: String?

    init(hub: Hub, token: String?) throws {
        base = hub.url
        self.token = token
        var configuration = HTTPClient.Configuration()
        configuration.tlsConfiguration = .makeClientConfiguration()
        configuration.tlsConfiguration?.trustRoots = .file(hub.authority)
        client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    }

    func close() {
        client.shutdown { _ in }
    }

    deinit {
        client.shutdown { _ in }
    }

    struct Answer: Sendable {
        let status: Int
        let json: JSON
    }

    func send(_ method: String, _ path: String, _ body: JSON? = nil) async throws -> Answer {
        let response = try await client.execute(request(method, path, body), timeout: .seconds(30))
        let bytes = try await response.body.collect(upTo: 8 << 20)
        return Answer(status: Int(response.status.code), json: (try? JSON(parsing: String(buffer: bytes))) ?? .null)
    }

    /// GET that must answer 200.
    func get(_ path: String) async throws -> JSON {
        let answer = try await send("GET", path)
        guard answer.status == 200 else { throw Failure("GET \(path): \(answer.status) \(answer.json)") }
        return answer.json
    }

    /// POST that must succeed.
    func post(_ path: String, _ body: JSON = .object([:])) async throws -> JSON {
        let answer = try await send("POST", path, body)
        guard (200..<300).contains(answer.status) else {
            throw Failure("POST \(path): \(answer.status) \(answer.json)")
        }
        return answer.json
    }

    /// The `data:` lines of a server-sent event stream, until the caller stops asking.
    ///
    /// - Parameter last: of an earlier stream, to go on with what follows.
    func events(_ path: String, after last: Int? = nil) async throws -> AsyncThrowingStream<JSON, any Error> {
        var request = request("GET", path, nil)
        request.headers.add(name: "Accept", value: "text/event-stream")
        if let last { request.headers.add(name: "Last-Event-ID", value: "\(last)") }
        let response = try await client.execute(request, timeout: .seconds(240))
        guard response.status == .ok else { throw Failure("GET \(path): \(response.status)") }
        return AsyncThrowingStream(bufferingPolicy: .bufferingOldest(10_000)) { continuation in
            let reading = Task {  // bridges a response body to a stream; cancelled with it
                do {
                    var pending = ""
                    for try await chunk in response.body {
                        pending += String(buffer: chunk)
                        while let end = pending.firstIndex(of: "\n") {
                            let line = pending[..<end]
                            if line.hasPrefix("data:"), let json = try? JSON(parsing: String(line.dropFirst(5))) {
                                continuation.yield(json)
                            }
                            pending = String(pending[pending.index(after: end)...])
                        }
                    }
                    continuation.finish()
                } catch {
                    continuation.finish(throwing: error)
                }
            }
            continuation.onTermination = { _ in reading.cancel() }
        }
    }

    /// An answer whose body is taken as slowly as one likes; the request's may go on for as long, too.
    func open(
        _ method: String,
        _ path: String,
        _ body: HTTPClientRequest.Body? = nil,
        accept: String = "*/*"
    ) async throws -> HTTPClientResponse {
        var request = request(method, path, nil)
        request.headers.add(name: "Accept", value: accept)
        request.body = body
        let response = try await client.execute(request, timeout: .seconds(240))
        guard (200..<300).contains(response.status.code) else { throw Failure("\(method) \(path): \(response.status)") }
        return response
    }

    private func request(_ method: String, _ path: String, _ body: JSON?) -> HTTPClientRequest {
        var request = HTTPClientRequest(url: base + path)
        request.method = .init(rawValue: method)
        if let token { request.headers.add(name: "Authorization", value: "Bearer \(token)") }
        if let body {
            request.headers.add(name: "Content-Type", value: "application/json")
            request.body = .bytes(ByteBuffer(string: body.description))
        }
        return request
    }
}
