import Foundation
import Logging
import Synchronization
import Testing
import WebSocketKitLite
import WireFormat

@testable import ControlHub

/// The whole hub, serving plain HTTP on a free port of loopback for as long as a test's body runs.
struct RunningHub: Sendable {
    /// The hub's slices on the same database, for what an operator would do.
    let parts: HubParts
    let directory: DataDirectory
    /// `host:port`.
    let address: String
    let loop: EpollLoop
    /// Ends the hub as SIGTERM would. The body goes on.
    let stop: @Sendable () -> Void

    /// - Parameter settings: options of the hub, over the defaults.
    static func run(
        _ settings: [HubConfiguration.Option: String] = [:],
        _ body: @escaping @Sendable (RunningHub) async throws -> Void
    ) async throws {
        let path = FileManager.default.temporaryDirectory.path + "/hub-run-\(UInt64.random(in: 0 ... .max))"
        // Left behind, it would only cost space.
        defer { try? FileManager.default.removeItem(atPath: path) }
        let flags: [HubConfiguration.Option: String] = [
            .listen: "127.0.0.1:0", .dataDirectory: path, .insecureHTTP: "true",
        ]
        let configuration = try HubConfiguration(
            flags: flags.merging(settings) { $1 },
            environment: [:],
            file: nil
        )
        let directory = try DataDirectory(path: path)
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let assembly = HubAssembly(configuration: configuration, directory: directory, logger: logger)
        let (addresses, announced) = AsyncStream<String>.makeStream()
        let stopping = Signal()
        try await withThrowingTaskGroup { group in
            group.addTask {
                defer { announced.finish() }
                try await assembly.serve(
                    until: {
                        // `try?`: cancelled with the test.
                        try? await stopping.wait(after: 0)
                    },
                    announce: { announced.yield($0.address) }
                )
            }
            group.addTask {
                var addresses = addresses.makeAsyncIterator()
                guard let address = await addresses.next() else { throw Missing(what: "the hub's address") }
                let site = HubServices.Site(hubName: "test", publicURL: "http://\(address)", isTLS: false)
                let hub = RunningHub(
                    parts: HubParts(
                        database: try HubDatabase(path: directory.file(HubDatabase.fileName)),
                        key: try directory.key(),
                        thresholds: configuration.thresholds,
                        clock: .system,
                        site: SiteInformation(site),
                        logger: logger
                    ),
                    directory: directory,
                    address: address,
                    loop: try EpollLoop.start(),
                    stop: { stopping.wake() }
                )
                defer { stopping.wake() }
                try await body(hub)
            }
            try await group.waitForAll()
        }
    }

    /// A node with its token.
    func node(_ name: String = "attic", lifetime: Duration? = nil) async throws -> CreatedNode {
        try await parts.nodes.create(name: name, lifetime: lifetime, by: .hub)
    }

    /// The node as `GET /api/nodes` shows it.
    func shown(_ node: NodeID) async throws -> JSONValue {
        let added = try await parts.operators.add(name: "o-\(UInt32.random(in: 0 ... .max))", role: .viewer, by: .hub)
        let response = try await HTTPExchange.perform(
            HTTPExchange.Request(
                method: "GET",
                endpoint: try Endpoint("http://\(address)/api/nodes"),
                headers: ["Authorization": "Bearer \(added.token ?? "")"]
            ),
            dialer: Dialer(loop: loop)
        )
        let json = try JSONReader.value(response.body, of: .answer)
        guard case .array(let items)? = json["items"] else { throw Missing(what: "items") }
        return try #require(items.first { $0["id"] == .string(node.rawValue) })
    }

    /// Dials as an agent does. Throws `WebSocketError` where the hub does not upgrade.
    func connect(_ token: String) async throws -> WebSocketConnection {
        var configuration = ClientConfiguration()
        configuration.headers = ["Authorization": "Bearer \(token)"]
        configuration.subprotocols = ["edge.v1"]
        var dialing = DialConfiguration()
        dialing.notSentLowWaterBytes = 4 * 1024
        return try await WebSocketClient.connect(
            to: try Endpoint("ws://\(address)/edge/v1/connect"),
            configuration: configuration,
            dialer: Dialer(loop: loop, configuration: dialing)
        )
    }

    /// One session of an agent. `body` gets each event; the session ends when it returns false, or by the hub.
    func session(
        _ token: String,
        hello: WireHello = WireHello(),
        configuration: AgentSessionMachine.Configuration = AgentSessionMachine.Configuration(),
        _ body: @escaping @Sendable (AgentSessionEvent, AgentSession) async throws -> Bool = { _, _ in true }
    ) async throws -> SessionEnding {
        let session = AgentSession(
            transport: TestTransport(connection: try await connect(token)),
            hello: hello,
            configuration: configuration,
            clock: SessionClock(unixMilliseconds: { 1 }),
            heartbeat: { WireHeartbeat() }
        )
        return try await withThrowingTaskGroup(of: SessionEnding?.self) { group in
            group.addTask { await session.run() }
            group.addTask {
                for await event in session.events {
                    guard try await body(event, session) else { break }
                }
                session.close(.normal, reason: "enough")
                return nil
            }
            var ending: SessionEnding?
            for try await result in group { ending = result ?? ending }
            return try #require(ending)
        }
    }
}

struct Missing: Error {
    let what: String
}

/// Carries a session over the kit's client.
private struct TestTransport: MessageTransport {
    let connection: WebSocketConnection

    func send(_ message: [UInt8]) async throws { try await connection.send(.binary(message)) }

    func receive() async throws -> [UInt8]? {
        do {
            if case .binary(let message)? = try await connection.receive() { return message }
        } catch {
            guard error.closeStatus != nil else { throw error }
        }
        guard let status = await connection.closeStatus, status.initiator == .remote else { return nil }
        throw TransportClosure(code: status.code.rawValue, reason: status.reason)
    }

    func close(code: UInt16, reason: String) async {
        await connection.close(code: CloseCode(rawValue: code), reason: reason)
    }
}
