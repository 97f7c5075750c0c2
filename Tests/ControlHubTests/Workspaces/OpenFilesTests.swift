import Foundation
import HTTPTypes
import HummingbirdTesting
import SwiftProtobuf
import Synchronization
import Testing
import WireFormat

@testable import ControlHub

@Suite("Files on their way", .timeLimit(.minutes(1)))
struct OpenFilesTests {
    /// A node that lists at once, and holds back what is in files until it is told.
    private final class Node: Sendable {
        let reading = Mutex(0)
        private let isHeld = Mutex(true)
        private let changed = Signal()

        func letGo() {
            isHeld.withLock { $0 = false }
            changed.wake()
        }

        func open(_ header: WireStreamHeader) throws -> AgentStream {
            guard case .workspace(let request)? = header.kind else { throw HubError(.nodeOffline, "no such stream") }
            var isRead = false
            if case .read? = request.operation { isRead = true }
            let first = WireWorkspacePart.with { part in
                guard isRead else {
                    part.listing.isLast = true
                    return
                }
                (part.entry.type, part.entry.name, part.entry.tag) = (.file, Data("f".utf8), "t")
            }
            let rest = Mutex([try first.serializedBytes() as [UInt8]])
            return AgentStream(
                send: { _ in },
                receive: { [self, isRead] in
                    if let next = rest.withLock({ $0.popLast() }) {
                        if isRead { reading.withLock { $0 += 1 } }
                        return next
                    }
                    while isRead {
                        let ticket = changed.ticket
                        guard isHeld.withLock({ $0 }) else { break }
                        try await changed.wait(after: ticket)
                    }
                    return nil
                },
                finish: {},
                reset: { _, _ in }
            )
        }
    }

    @Test("One operator has four files of a node on their way; a fifth is refused, and others notice nothing of it")
    func shares() async throws {
        let hub = try TestHub()
        let (_, bot) = try await hub.botOnNode()
        let (_, elsewhere) = try await hub.botOnNode()
        let (greedy, other) = (try await hub.token(.operator), try await hub.token(.operator))
        let node = Node()
        hub.channel.stream.withLock { $0 = { try node.open($0) } }
        try await hub.api { api in
            @Sendable func get(_ bot: BotID, _ path: String, _ token: String) async throws -> Int {
                try await api.client.execute(
                    uri: "/api/bots/\(bot)/workspace\(path)",
                    method: .get,
                    headers: [.authorization: "Bearer \(token)"],
                    body: nil
                ) { $0.status.code }
            }
            @Sendable func wait(for count: Int) async throws {
                while node.reading.withLock({ $0 }) < count {
                    try Task.checkCancellation()
                    await Task.yield()
                }
            }
            try await withThrowingTaskGroup(of: Int.self) { group in
                for _ in 0..<OpenFiles.mostPerOperator { group.addTask { try await get(bot, "/f", greedy) } }
                try await wait(for: OpenFiles.mostPerOperator)
                let fifth = try await api.send(.get, "/api/bots/\(bot)/workspace/f", token: greedy)
                #expect(fifth.status == 429 && fifth.code == "too_many_streams", "\(fifth)")
                #expect(fifth.headers[.retryAfter] != nil)
                // Neither a listing, nor another operator, nor another node is in its way.
                #expect(try await get(bot, "", greedy) == 200)
                #expect(try await get(bot, "", other) == 200)
                group.addTask { try await get(bot, "/f", other) }
                group.addTask { try await get(elsewhere, "/f", greedy) }
                try await wait(for: OpenFiles.mostPerOperator + 2)
                node.letGo()
                for try await status in group { #expect(status == 200) }
            }
            #expect(try await get(bot, "/f", greedy) == 200, "what has come gives its place back")
        }
    }
}
