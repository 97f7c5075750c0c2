import Foundation
import Testing

@testable import ControlHub

/// A hub that is killed in the middle of a request has done it or not; the request comes again either way.
@Suite("Requests that come again")
struct IdempotencyStoreTests {
    private let hash = Data("request".utf8)

    private func isNew(_ claim: IdempotencyStore.Claim) -> Bool {
        if case .new = claim { true } else { false }
    }

    @Test("A message is accepted once, though the hub was killed before it could answer")
    func acceptedOnce() async throws {
        let hub = try TestHub()
        let (_, bot) = try await hub.botOnNode()
        let owner = OperatorID(rawValue: "somebody")
        let date = hub.parts.clock.date()
        let request = IdempotentRequest(owner: owner.rawValue, key: "k", hubKey: hub.parts.idempotency.key)
        func send() async throws -> CommandOperations.SentMessage {
            try await IdempotentRequest.$current.withValue(request) {
                try await hub.parts.commands.send("hello", to: bot, in: nil, by: .hub)
            }
        }
        let killed = hub.parts.idempotency
        #expect(isNew(try await killed.claim("k", of: owner, requestHash: hash, at: date)))
        let first = try await send()
        // The same process would wait for the first one's end; another one knows that it will not come.
        #expect(!isNew(try await killed.claim("k", of: owner, requestHash: hash, at: date)))
        let next = IdempotencyStore(database: hub.parts.database, key: killed.key)
        #expect(isNew(try await next.claim("k", of: owner, requestHash: hash, at: date)))
        let second = try await send()
        #expect(second.message == first.message && second.command == first.command)
        #expect(try await hub.services.messages.conversations(bot, after: nil, limit: 10).map(\.messageCount) == [1])
        // A failure after the deed frees the key and keeps what was done.
        try await next.abandon("k", of: owner)
        #expect(isNew(try await next.claim("k", of: owner, requestHash: hash, at: date)))
        #expect(try await send().message == first.message)
        try await next.complete("k", of: owner, status: 202, body: Data("{}".utf8))
        guard case .answered(202, _) = try await next.claim("k", of: owner, requestHash: hash, at: date) else {
            Issue.record("the answer is not there")
            return
        }
    }

    @Test("Another request under the same key is refused, whoever claimed it")
    func otherRequest() async throws {
        let hub = try TestHub()
        let owner = OperatorID(rawValue: "somebody")
        let date = hub.parts.clock.date()
        _ = try await hub.parts.idempotency.claim("k", of: owner, requestHash: hash, at: date)
        let next = IdempotencyStore(database: hub.parts.database, key: hub.parts.idempotency.key)
        guard case .otherRequest = try await next.claim("k", of: owner, requestHash: Data("x".utf8), at: date) else {
            Issue.record("a key was given to two requests")
            return
        }
    }
}
