import Foundation
import TestSupport
import Testing
import WireFormat

@testable import ControlHub

@Suite("Enrollment")
struct EnrollmentOperationsTests {
    private func request(_ code: String, _ id: String = "request-1", name: String? = "kitchen") -> EnrollmentRequest {
        EnrollmentRequest(code: code, requestId: id, name: name, hostName: "host")
    }

    private func code(_ hub: TestHub) async throws -> String {
        try await hub.parts.enrollments.create(name: nil, lifetime: .seconds(900), by: .hub).1.text
    }

    @Test("turns a code into a node whose token is accepted")
    func redeem() async throws {
        let hub = try TestHub()
        let redeemed = try await hub.parts.enrollments.redeem(request(try await code(hub)), from: "::1")
        #expect(redeemed.nodeName == "kitchen")
        #expect(try await hub.parts.nodes.authenticate(token: redeemed.token) == .accepted(redeemed.nodeID))
    }

    @Test("gives the same agent the same node with a new token, and drops the token it never used")
    func retry() async throws {
        let hub = try TestHub()
        let code = try await code(hub)
        let first = try await hub.parts.enrollments.redeem(request(code), from: "::1")
        let second = try await hub.parts.enrollments.redeem(request(code), from: "::1")
        #expect(second.nodeID == first.nodeID && !second.isNew)
        #expect(try await hub.parts.nodes.authenticate(token: first.token) == .unknown)
        #expect(try await hub.parts.nodes.authenticate(token: second.token) == .accepted(first.nodeID))
        let third = try await hub.parts.enrollments.redeem(request(code), from: "::1")
        #expect(try await hub.parts.nodes.authenticate(token: second.token) == .accepted(first.nodeID), "it was used")
        #expect(try await hub.parts.nodes.authenticate(token: third.token) == .accepted(first.nodeID))
    }

    @Test("refuses a code that is wrong, used by another, or expired, each with its own reason")
    func refusals() async throws {
        let hub = try TestHub()
        await expectHubError(.enrollmentCodeInvalid) {
            _ = try await hub.parts.enrollments.redeem(request("ABCD-EFGH-JKMN"), from: "::1")
        }
        await expectHubError(.enrollmentCodeInvalid) {
            _ = try await hub.parts.enrollments.redeem(request("nonsense"), from: "::1")
        }
        let used = try await code(hub)
        _ = try await hub.parts.enrollments.redeem(request(used), from: "::1")
        await expectHubError(.enrollmentCodeUsed) {
            _ = try await hub.parts.enrollments.redeem(request(used, "request-2"), from: "::1")
        }
        let old = try await code(hub)
        hub.clock.advance(by: .seconds(900))
        await expectHubError(.enrollmentCodeExpired) {
            _ = try await hub.parts.enrollments.redeem(request(old), from: "::1")
        }
        await expectHubError(.enrollmentCodeExpired) {
            _ = try await hub.parts.enrollments.redeem(request(used), from: "::1")
        }
    }

    @Test("limits the tries of one address, then lets it try again, and others meanwhile")
    func rateLimit() async throws {
        let hub = try TestHub()
        for _ in 0..<10 {
            await expectHubError(.enrollmentCodeInvalid) {
                _ = try await hub.parts.enrollments.redeem(request("nonsense"), from: "10.0.0.1")
            }
        }
        await expectHubError(.rateLimited) {
            _ = try await hub.parts.enrollments.redeem(request("nonsense"), from: "10.0.0.1")
        }
        await expectHubError(.enrollmentCodeInvalid) {
            _ = try await hub.parts.enrollments.redeem(request("nonsense"), from: "10.0.0.2")
        }
        hub.clock.advance(by: .seconds(6))
        await expectHubError(.enrollmentCodeInvalid) {
            _ = try await hub.parts.enrollments.redeem(request("nonsense"), from: "10.0.0.1")
        }
    }

    @Test("a good code passes while everybody's tries are used up, from the same address too, and is not charged")
    func goodCodePasses() async throws {
        let hub = try TestHub()
        let code = try await code(hub)
        for number in 0..<120 {
            // The first hundred are told what is wrong, the others to wait; both are refused.
            await #expect(throws: HubError.self) {
                _ = try await hub.parts.enrollments.redeem(request("ABCD-EFGH-JKMN"), from: "10.0.0.\(number)")
            }
        }
        await expectHubError(.rateLimited) {
            _ = try await hub.parts.enrollments.redeem(request("ABCD-EFGH-JKMN"), from: "10.0.1.1")
        }
        let redeemed = try await hub.parts.enrollments.redeem(request(code), from: "10.0.0.1")
        #expect(redeemed.nodeName == "kitchen")
    }

    @Test("tries beyond the bounds are not written down")
    func limitedTriesAreNotKept() async throws {
        let hub = try TestHub()
        let waiting = try await hub.parts.enrollments.create(name: nil, lifetime: .seconds(900), by: .hub).0
        for _ in 0..<30 {
            await #expect(throws: HubError.self) {
                _ = try await hub.parts.enrollments.redeem(request("ABCD-EFGH-JKMN"), from: "10.0.0.1")
            }
        }
        let kept = try await hub.parts.enrollments.list(before: nil, limit: 10).first { $0.id == waiting.id }
        #expect(kept?.failedAttempts.count == 10)
    }

    @Test("finds a free name where two nodes want the same one")
    func names() async throws {
        let hub = try TestHub()
        let first = try await hub.parts.enrollments.redeem(request(try await code(hub), "request-1"), from: "::1")
        let second = try await hub.parts.enrollments.redeem(request(try await code(hub), "request-2"), from: "::1")
        #expect([first.nodeName, second.nodeName] == ["kitchen", "kitchen-2"])
    }

    @Test("keeps no code in the database")
    func hashed() async throws {
        let hub = try TestHub()
        let code = try await code(hub)
        try hub.parts.database.backup(to: hub.directory.file("copy"))
        let bytes = try Data(contentsOf: URL(fileURLWithPath: hub.directory.file("copy")))
        #expect(bytes.range(of: Data(code.utf8)) == nil)
        #expect(bytes.range(of: Data(code.replacingOccurrences(of: "-", with: "").utf8)) == nil)
    }
}

@Suite("Pairing again as the same node")
struct PairingAgainTests {
    private func redeem(_ hub: TestHub, _ code: EnrollmentCode, _ id: String = "request-1") async throws -> Redeemed {
        try await hub.parts.enrollments.redeem(
            EnrollmentRequest(code: code.text, requestId: id, name: "ignored", hostName: "new-host"),
            from: "::1"
        )
    }

    private func code(_ hub: TestHub, for node: String) async throws -> EnrollmentCode {
        try await hub.parts.enrollments.create(name: nil, node: node, lifetime: .seconds(900), by: .hub).1
    }

    @Test("keeps the node with its name, epoch and bots, and withdraws the old token", arguments: [false, true])
    func keepsTheNode(wasRevoked: Bool) async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        let made = try await hub.parts.nodes.create(name: "attic", by: .hub)
        _ = try await hub.parts.nodes.openSession(made.id, hello: WireHello(), remoteAddress: "::1", at: hub.now)
        if wasRevoked { try await hub.parts.nodes.revoke(made.id, by: .hub, channel: hub.channel) }

        let redeemed = try await redeem(hub, try await code(hub, for: "attic"))
        #expect(redeemed.nodeID == made.id && redeemed.nodeName == "attic" && redeemed.isPairedAgain)
        #expect(try await hub.parts.nodes.authenticate(token: made.token) == .revoked)
        #expect(try await hub.parts.nodes.authenticate(token: redeemed.token) == .accepted(made.id))
        let opened = try await hub.parts.nodes.openSession(
            made.id,
            hello: WireHello(),
            remoteAddress: "::1",
            at: hub.now
        )
        #expect(opened.epoch == 2)

        // By id as well as by name, and the bots stay.
        let other = try await redeem(hub, try await code(hub, for: node.rawValue), "request-2")
        #expect(other.nodeID == node)
        #expect(try await hub.parts.bots.store.bot(bot).nodeID == node)
    }

    @Test("a lost answer is repeated to the same agent, and to nobody else")
    func lostAnswer() async throws {
        let hub = try TestHub()
        let made = try await hub.parts.nodes.create(name: "attic", by: .hub)
        let code = try await code(hub, for: "attic")
        let first = try await redeem(hub, code)
        let second = try await redeem(hub, code)
        #expect(second.nodeID == made.id && !second.isPairedAgain)
        #expect(try await hub.parts.nodes.authenticate(token: first.token) == .unknown)
        #expect(try await hub.parts.nodes.authenticate(token: second.token) == .accepted(made.id))
        await expectHubError(.enrollmentCodeUsed) { _ = try await redeem(hub, code, "request-2") }
    }

    @Test("a machine that takes the identity over is not taken for a clone")
    func otherMachine() async throws {
        let hub = try TestHub()
        let made = try await hub.parts.nodes.create(name: "attic", by: .hub)
        var (old, new) = (WireHello(), WireHello())
        (old.machineFingerprint, new.machineFingerprint) = ("a", "b")
        _ = try await hub.parts.nodes.openSession(made.id, hello: old, remoteAddress: "::1", at: hub.now)
        _ = try await redeem(hub, try await code(hub, for: "attic"))
        let opened = try await hub.parts.nodes.openSession(made.id, hello: new, remoteAddress: "::2", at: hub.now)
        #expect(opened.quarantineReason == nil)
    }

    @Test("a node that does not exist, or a new name for one that does, is refused")
    func refusals() async throws {
        let hub = try TestHub()
        await expectHubError(.notFound) { _ = try await code(hub, for: "nowhere") }
        _ = try await hub.parts.nodes.create(name: "attic", by: .hub)
        await expectHubError(.invalidRequest) {
            _ = try await hub.parts.enrollments.create(name: "x", node: "attic", lifetime: .seconds(60), by: .hub)
        }
    }

    @Test("a token given for a time is told apart from one that was never known")
    func expired() async throws {
        let hub = try TestHub()
        let made = try await hub.parts.nodes.create(name: "attic", lifetime: .seconds(60), by: .hub)
        #expect(try await hub.parts.nodes.authenticate(token: made.token) == .accepted(made.id))
        hub.clock.advance(by: .seconds(60))
        #expect(try await hub.parts.nodes.authenticate(token: made.token) == .expired)
    }
}
