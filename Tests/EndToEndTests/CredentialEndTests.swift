import AsyncHTTPClient
import Foundation
import NIOCore
import Synchronization
import Testing

/// What is open when an operator is removed, or a token revoked, ends; what others have open goes on.
@Suite("What stays open ends with its credential", .serialized, .timeLimit(.minutes(5)))
struct CredentialEndTests {
    enum End: String, CaseIterable { case operatorRemoved, tokenRevoked }

    /// One operator's events, log, download and upload, none of which ends by itself.
    private final class Open: Sendable {
        static let kinds: Set = ["events", "log", "upload"]
        private let ended = Mutex<Set<String>>([])
        private let tasks = Mutex<[Task<Void, Never>]>([])
        private let download: HTTPClientResponse
        private let parts: AsyncStream<ByteBuffer>.Continuation
        // A connection of its own for each.
        private let clients: [API]

        /// Those that have ended, but for the download, which nobody takes.
        var over: Set<String> { ended.withLock { $0 } }

        init(_ hub: Hub, _ token: String, _ bot: String) async throws {
            clients = try (0..<4).map { _ in try API(hub: hub, token: token) }
            let stream = "text/event-stream"
            let events = try await clients[0].open("GET", "/api/events", accept: stream)
            let log = try await clients[1].open("GET", "/api/bots/\(bot)/logs?follow=true", accept: stream)
            download = try await clients[2].open("GET", "/api/bots/\(bot)/workspace/big")
            let (body, parts) = AsyncStream<ByteBuffer>.makeStream()
            self.parts = parts
            parts.yield(ByteBuffer(string: "the beginning"))
            let name = "/api/bots/\(bot)/workspace/file-\(UInt32.random(in: 0 ... .max))"
            watch("events") { for try await _ in events.body {} }
            watch("log") { for try await _ in log.body {} }
            watch("upload") { [client = clients[3]] in
                _ = try await client.open("PUT", name, .stream(body, length: .unknown))
            }
        }

        private func watch(_ kind: String, _ body: @escaping @Sendable () async throws -> Void) {
            let task = Task {  // cancelled by `close`
                // `try?`: how a connection ends that somebody else closes is its own affair.
                try? await body()
                ended.withLock { _ = $0.insert(kind) }
            }
            tasks.withLock { $0.append(task) }
        }

        /// Takes what there is of the download, to its end.
        func downloaded() async -> Int {
            var count = 0
            do {
                for try await part in download.body { count += part.readableBytes }
            } catch {
                // Closed in the middle.
            }
            return count
        }

        func close() {
            for task in tasks.withLock({ $0 }) { task.cancel() }
            parts.finish()
            for client in clients { client.close() }
        }
    }

    private static let fileBytes = 48 << 20

    /// Connections and all else that the hub has open as a socket.
    private func sockets(_ hub: Hub) throws -> Int {
        let folder = "/proc/\(hub.program.pid)/fd"
        // `try?`: one that was closed meanwhile.
        return try FileManager.default.contentsOfDirectory(atPath: folder)
            .count {
                (try? FileManager.default.destinationOfSymbolicLink(atPath: "\(folder)/\($0)"))?.hasPrefix("socket:")
                    == true
            }
    }

    @Test("Events, a followed log, a download that nobody takes and an upload that stalls", arguments: End.allCases)
    func ends(how: End) async throws {
        let story = try await Story()
        func add(_ name: String) async throws -> (id: String, token: String) {
            let added = try await story.api.post("/api/operators", ["name": .string(name), "role": "operator"])
            return (try #require(added["id"].string), try #require(added["token"].string))
        }
        let (leaver, stayer) = (try await add("leaver"), try await add("stayer"))
        let file = "/api/bots/\(story.bot)/workspace/big"
        _ = try await story.api.open("PUT", file, .bytes(ByteBuffer(repeating: 0x61, count: Self.fileBytes)))

        let others = try await Open(story.hub, stayer.token, story.bot)
        defer { others.close() }
        let open = try await Open(story.hub, leaver.token, story.bot)
        defer { open.close() }
        try await eventually("the uploads have begun", or: { story.hub.program.text }) {
            let names = try await story.api.get("/api/bots/\(story.bot)/workspace").items.count
            return open.over.isEmpty && names > 0 ? () : nil
        }
        let before = try sockets(story.hub)
        switch how {
        case .operatorRemoved: #expect(try await story.api.send("DELETE", "/api/operators/\(leaver.id)").status == 204)
        case .tokenRevoked:
            let tokens = "/api/operators/\(leaver.id)/tokens"
            let token = try #require(try await story.api.get(tokens).items.first?["id"].string)
            #expect(try await story.api.send("DELETE", "\(tokens)/\(token)").status == 204)
        }
        // Upload and download go with their connections; behind an answer that could end there may come another request.
        try await eventually(
            "all four have ended",
            within: .seconds(60),
            or: { "\(open.over), sockets \(before) -> \(try sockets(story.hub)); \(story.hub.program.text)" }
        ) { try open.over == Open.kinds && sockets(story.hub) <= before - 2 ? () : nil }
        // Its upload stalls as well, and may have used up the hub's patience on a slow machine.
        #expect(others.over.isDisjoint(with: ["events", "log"]), "what others have open goes on")
        #expect(await open.downloaded() < Self.fileBytes)
    }
}
