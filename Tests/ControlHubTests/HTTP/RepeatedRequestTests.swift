import Foundation
import TestSupport
import Testing

@testable import ControlHub

/// What happens where a hub is killed after it has done what was asked, and before it could keep the answer: the request
/// comes again, and what was done is found beside its key.
@Suite("POSTs that come again after a hub was killed")
struct RepeatedRequestTests {
    private let hash = Data("request".utf8)

    /// Does something twice under one key: in a run of the hub that then dies, and in the next.
    private func twice<Value: Sendable>(
        _ hub: TestHub,
        key: String = "k",
        _ work: @Sendable () async throws -> Value
    ) async throws -> (Value, Value) {
        let owner = OperatorID(rawValue: "somebody")
        let request = IdempotentRequest(owner: owner.rawValue, key: key, hubKey: hub.parts.idempotency.key)
        var results: [Value] = []
        for _ in 0..<2 {
            let run = IdempotencyStore(database: hub.parts.database, key: hub.parts.idempotency.key)
            guard case .new = try await run.claim(key, of: owner, requestHash: hash, at: hub.now) else {
                throw Missing(what: "a claim")
            }
            results.append(try await IdempotentRequest.$current.withValue(request) { try await work() })
            hub.clock.advance(by: .seconds(1))
        }
        return (results[0], results[1])
    }

    private func audited(_ hub: TestHub, _ action: String) async throws -> Int {
        try await hub.services.audit.list(limit: 500).filter { $0.action == action }.count
    }

    @Test("A node, with the token that was made for it, which still works")
    func node() async throws {
        let hub = try TestHub()
        let (first, second) = try await twice(hub) { try await hub.parts.nodes.create(name: "attic", by: .hub) }
        #expect(first.id == second.id && first.token == second.token)
        #expect(try await hub.parts.nodes.authenticate(token: second.token) == .accepted(first.id))
        #expect(try await audited(hub, "node.create") == 1)
    }

    @Test("A code, an operator, a token and a login link: the same secret, once")
    func secrets() async throws {
        let hub = try TestHub()
        let codes = try await twice(hub, key: "1") {
            try await hub.parts.enrollments.create(name: nil, lifetime: .seconds(900), by: .hub)
        }
        #expect(codes.0.1 == codes.1.1 && codes.0.0.id == codes.1.0.id)
        #expect(try await hub.parts.enrollments.list(before: nil, limit: 10).count == 1)
        let operators = hub.parts.operators
        let added = try await twice(hub, key: "2") { try await operators.add(name: "ada", role: .admin, by: .hub) }
        #expect(added.0.token == added.1.token && added.0.loginToken == added.1.loginToken)
        #expect(try await operators.list().count == 1)
        let owner = added.0.operator.id
        let tokens = try await twice(hub, key: "3") {
            try await operators.makeToken(for: owner, name: "script", lifetime: nil, by: .hub)
        }
        #expect(tokens.0.token == tokens.1.token && tokens.0.record.id == tokens.1.record.id)
        #expect(try await operators.authenticate(bearer: tokens.1.token)?.operator.id == owner)
        let links = try await twice(hub, key: "4") { try await operators.makeLoginToken(of: owner, by: .hub) }
        #expect(links.0.token == links.1.token)
        for action in ["enrollment.create", "operator.add", "token.create", "operator.login_link"] {
            #expect(try await audited(hub, action) == 1, "\(action)")
        }
        // What is kept beside the key until the answer is there is encrypted as that is.
        let secrets = [codes.0.1.text, codes.0.1.canonical, added.0.token ?? "", tokens.0.token, links.0.token]
        for file in ["hub.sqlite", "hub.sqlite-wal"] {
            let bytes = FileManager.default.contents(atPath: hub.directory.file(file)) ?? Data()
            for secret in secrets { #expect(bytes.range(of: Data(secret.utf8)) == nil, "a secret in \(file)") }
        }
    }

    @Test("A bot, and its starts and stops")
    func bots() async throws {
        let hub = try TestHub()
        let node = try await hub.parts.nodes.create(name: "attic", by: .hub).id
        let made = try await twice(hub, key: "1") {
            try await hub.parts.bots.create(name: "echo", node: node, runtimeProfile: "p", config: nil, by: .hub)
        }
        #expect(made.0 == made.1)
        let bot = made.0
        let commands = hub.parts.commands
        let starts = try await twice(hub, key: "2") { try await commands.start(bot, by: .hub) }
        #expect(starts.0 == starts.1)
        #expect(try await commands.outstanding(for: node).map(\.id) == [starts.0])
        let restarts = try await twice(hub, key: "3") { try await commands.restart(bot, by: .hub) }
        #expect(restarts.0 == restarts.1)
        #expect(try await audited(hub, "bot.create") == 1)
        #expect(try await audited(hub, "bot.restart") == 1)
    }

    @Test("One request may do several things: each is done once, and by its own name")
    func several() async throws {
        let hub = try TestHub()
        let (node, first) = try await hub.botOnNode()
        let second = try await hub.parts.bots.create(name: "b", node: node, runtimeProfile: "p", config: nil, by: .hub)
        let commands = hub.parts.commands
        let stops = try await twice(hub) {
            [try await commands.stop(first, by: .hub), try await commands.stop(second, by: .hub)]
        }
        #expect(stops.0 == stops.1 && Set(stops.0).count == 2)
        #expect(try await commands.outstanding(for: node).count == 2)
    }

    @Test("A revocation that comes again does not revoke what was paired since")
    func revoke() async throws {
        let hub = try TestHub()
        let node = try await hub.parts.nodes.create(name: "attic", by: .hub)
        let owner = OperatorID(rawValue: "somebody")
        let request = IdempotentRequest(owner: owner.rawValue, key: "k", hubKey: hub.parts.idempotency.key)
        _ = try await hub.parts.idempotency.claim("k", of: owner, requestHash: hash, at: hub.now)
        @Sendable func revoke() async throws {
            try await IdempotentRequest.$current.withValue(request) {
                try await hub.parts.nodes.revoke(node.id, by: .hub, channel: hub.channel)
            }
        }
        try await revoke()
        #expect(try await hub.parts.nodes.authenticate(token: node.token) == .revoked)
        let code = try await hub.parts.enrollments.create(name: nil, node: "attic", lifetime: .seconds(60), by: .hub).1
        let again = try await hub.parts.enrollments.redeem(
            EnrollmentRequest(code: code.text, requestId: "request-1"),
            from: "::1"
        )
        try await revoke()
        #expect(try await hub.parts.nodes.authenticate(token: again.token) == .accepted(node.id))
    }
}
