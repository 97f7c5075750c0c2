import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Logging
import NIOCore
import Synchronization
import TestSupport
import Testing
import WireFormat

@testable import ControlHub

/// A hub on a real database in a temporary directory, with a clock that the test moves.
final class TestHub: Sendable {
    let directory: DataDirectory
    let parts: HubParts
    let services: HubServices
    let clock: ManualClock
    let channel: FakeAgentChannel

    static let start = Date(unixMilliseconds: 1_767_225_600_000)

    init(
        thresholds: HealthThresholds = HealthThresholds(),
        directory: DataDirectory? = nil,
        snapshots: SnapshotBounds = SnapshotBounds(),
        patience: NodePatience = NodePatience(),
        judged: JudgedClock? = nil
    ) throws {
        let path = FileManager.default.temporaryDirectory.path + "/hub-test-\(UInt64.random(in: 0 ... .max))"
        self.directory = try directory ?? DataDirectory(path: path)
        let clock = ManualClock()
        let began = clock.now
        let hubClock =
            judged?.hubClock(now: { clock.now }, sleep: { try await clock.sleep(until: $0) })
            ?? HubClock(
                now: { clock.now },
                date: { Self.start.addingTimeInterval((clock.now - began).seconds) },
                sleep: { try await clock.sleep(until: $0) }
            )
        let site = HubServices.Site(
            hubName: "test",
            publicURL: "https://hub.example",
            isTLS: true,
            caFile: "/ca.pem",
            pin: "ab12"
        )
        parts = HubParts(
            database: try HubDatabase(path: self.directory.file(HubDatabase.fileName)),
            key: try self.directory.key(),
            thresholds: thresholds,
            clock: hubClock,
            site: SiteInformation(site),
            logger: Logger(label: "test")
        )
        let channel = FakeAgentChannel()
        services = parts.services(
            channel: channel,
            snapshotDirectory: self.directory.file("snapshots"),
            snapshotBounds: snapshots,
            patience: patience
        )
        self.clock = clock
        self.channel = channel
    }

    deinit {
        // Left behind, it would only cost space.
        try? FileManager.default.removeItem(atPath: directory.path)
    }

    var now: Date { parts.clock.date() }

    /// A bearer token of a new operator.
    func token(_ role: Role) async throws -> String {
        let added = try await parts.operators.add(
            name: "\(role.rawValue)-\(UInt32.random(in: 0 ... .max))",
            role: role,
            by: .hub
        )
        return try #require(added.token)
    }

    /// A node with one bot on it.
    func botOnNode() async throws -> (node: NodeID, bot: BotID) {
        let node = try await parts.nodes.create(name: "node-\(UInt32.random(in: 0 ... .max))", by: .hub).id
        let bot = try await parts.bots.create(
            name: "bot-\(UInt32.random(in: 0 ... .max))",
            node: node,
            runtimeProfile: "default",
            config: nil,
            by: .hub
        )
        return (node, bot)
    }

    /// Runs requests against the routes, without a socket.
    func api(_ body: @escaping @Sendable (APIClient) async throws -> Void) async throws {
        let application = Application(router: try HubRouter.make(services))
        try await application.test(.router) { client in
            try await body(APIClient(client: client))
        }
    }
}

extension ClientAddress {
    /// A client that dials the hub itself.
    init(_ peer: String) { self.init(peer: peer, forwarded: [], proxies: []) }
}

extension EnrollmentOperations {
    /// Redeems for who dials from this address.
    func redeem(_ request: EnrollmentRequest, from peer: String) async throws -> Redeemed {
        try await redeem(request, from: ClientAddress(peer))
    }
}

/// Sends requests and reads JSON.
struct APIClient: Sendable {
    let client: any TestClientProtocol

    struct Answer: Sendable {
        let status: Int
        let headers: HTTPFields
        let json: JSONValue

        subscript(key: String) -> JSONValue? { json[key] }
        var code: String? { json["code"]?.stringValue }
        var items: [JSONValue] {
            if case .array(let items)? = json["items"] { items } else { [] }
        }
    }

    func send(
        _ method: HTTPRequest.Method,
        _ path: String,
        token: String? = nil,
        body: String? = nil,
        headers: [String: String] = [:]
    ) async throws -> Answer {
        var fields: HTTPFields = [.contentType: "application/json"]
        if let token { fields[.authorization] = "Bearer \(token)" }
        for (name, value) in headers { fields[try #require(HTTPField.Name(name))] = value }
        return try await client.execute(
            uri: path,
            method: method,
            headers: fields,
            body: body.map { ByteBuffer(string: $0) }
        ) { response in
            let data = Data(response.body.readableBytesView)
            let json = data.isEmpty ? JSONValue.null : try JSONReader.value(data, of: .answer)
            return Answer(status: response.status.code, headers: response.headers, json: json)
        }
    }
}

/// Stands in for the Gateway: remembers who was sent away, and plays back log chunks.
final class FakeAgentChannel: AgentChannel {
    private let state = Mutex<(chunks: [WireLogChunk]?, disconnected: [NodeID: UInt16], requests: [WireLogRequest])>(
        (nil, [:], [])
    )

    /// What the next log consists of; nil: the node is offline.
    var chunks: [WireLogChunk]? {
        get { state.withLock { $0.chunks } }
        set { state.withLock { $0.chunks = newValue } }
    }

    var disconnected: [NodeID: UInt16] { state.withLock { $0.disconnected } }
    var requests: [WireLogRequest] { state.withLock { $0.requests } }

    func logs(_ request: WireLogRequest, on node: NodeID) async throws -> LogSubscription {
        state.withLock { $0.requests.append(request) }
        guard let chunks else { throw HubError(.nodeOffline, "The node is not connected.") }
        if isSilent.withLock({ $0 }) {
            return LogSubscription(
                next: {
                    let never = Signal()
                    try await never.wait(after: never.ticket)
                    return nil
                },
                cancel: {}
            )
        }
        let box = ChunkBox(rest: chunks)
        return LogSubscription(next: { box.take() }, cancel: {})
    }

    func open(_ header: WireStreamHeader, on node: NodeID) async throws -> AgentStream {
        guard let stream = stream.withLock({ $0 }) else {
            throw HubError(.nodeOffline, "The node is not connected.")
        }
        return try stream(header)
    }

    /// The node opens logs, and says nothing of them.
    let isSilent = Mutex(false)

    /// Makes the streams that are opened; nil: it is offline.
    let stream = Mutex<(@Sendable (WireStreamHeader) throws -> AgentStream)?>(nil)

    /// What the node answers when it is asked; nil: it is offline.
    let answer = Mutex<(@Sendable (WireCommand) async throws -> WireCommandResult)?>(nil)

    func ask(_ command: WireCommand, on node: NodeID, within limit: Duration) async throws -> WireCommandResult {
        guard let answer = answer.withLock({ $0 }) else { throw HubError(.nodeOffline, "The node is not connected.") }
        return try await answer(command)
    }

    /// What nodes were told last.
    let settings = Mutex<[NodeID: WireSessionSettings]>([:])

    func apply(_ settings: WireSessionSettings, on node: NodeID) async {
        self.settings.withLock { $0[node] = settings }
    }

    func isConnected(_ node: NodeID) async -> Bool { chunks != nil || answer.withLock { $0 != nil } }

    func waitUntilConnected(_ node: NodeID) async throws {
        let never = Signal()
        try await never.wait(after: never.ticket)
    }

    func disconnect(_ node: NodeID, code: UInt16, reason: String) async {
        state.withLock { $0.disconnected[node] = code }
    }

    private final class ChunkBox: Sendable {
        private let rest: Mutex<[WireLogChunk]>
        init(rest: [WireLogChunk]) { self.rest = Mutex(rest) }
        func take() -> WireLogChunk? { rest.withLock { $0.isEmpty ? nil : $0.removeFirst() } }
    }
}

/// Expects a `HubError` with a code.
func expectHubError(
    _ code: HubError.Code,
    _ body: () async throws -> Void,
    sourceLocation: SourceLocation = #_sourceLocation
) async {
    do {
        try await body()
        Issue.record("no error; expected \(code.rawValue)", sourceLocation: sourceLocation)
    } catch let error as HubError {
        #expect(error.code == code, sourceLocation: sourceLocation)
    } catch {
        Issue.record("\(error)", sourceLocation: sourceLocation)
    }
}
