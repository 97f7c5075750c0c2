import Foundation
import HTTPTypes
import TestSupport
import Testing

@testable import ControlHub

@Suite("Pairing that was refused")
struct EnrollmentAttemptTests {
    private func request(_ code: String, _ id: String = "request-1", host: String = "host") -> EnrollmentRequest {
        EnrollmentRequest(code: code, requestId: id, name: "kitchen", hostName: host, agentVersion: "9.9")
    }

    private func refused(_ hub: TestHub, _ request: EnrollmentRequest, from address: String = "192.0.2.7") async {
        do {
            _ = try await hub.parts.enrollments.redeem(request, from: address)
            Issue.record("it was not refused")
        } catch is HubError {
        } catch {
            Issue.record("\(error)")
        }
    }

    private func attempts(_ hub: TestHub, _ id: EnrollmentID) async throws -> [EnrollmentAttempt] {
        let all = try await hub.parts.enrollments.list(before: nil, limit: 100)
        return try #require(all.first { $0.id == id }).failedAttempts
    }

    @Test("is kept with the code: who, when and why, newest first, and in the API")
    func kept() async throws {
        let hub = try TestHub()
        let (enrollment, code) = try await hub.parts.enrollments.create(name: nil, lifetime: .seconds(900), by: .hub)
        _ = try await hub.parts.enrollments.redeem(request(code.text), from: "192.0.2.1")
        hub.clock.advance(by: .seconds(5))
        await refused(hub, request(code.text, "request-2", host: "thief"))
        hub.clock.advance(by: .seconds(900))
        await refused(hub, request(code.text, host: "late"))
        let found = try await attempts(hub, enrollment.id)
        #expect(found.map(\.code) == ["enrollment_code_expired", "enrollment_code_used"])
        #expect(found.map(\.hostName) == ["late", "thief"])
        #expect(found.last?.address == "192.0.2.7" && found.last?.agentVersion == "9.9")
        #expect(found.last?.at == TestHub.start.addingTimeInterval(5))
        let admin = try await hub.token(.admin)
        try await hub.api { api in
            let shown = try await api.send(.get, "/api/enrollments", token: admin).items.first
            let last = shown?["failed_attempts"]?.arrayValue?.last
            #expect(last?["address"] == .string("192.0.2.7") && last?["is_this_code"] == .bool(true))
            #expect(last?["reason"]?.stringValue?.contains("was used before") == true)
            #expect(last?["at"] == .string("2026-01-01T00:00:05.000Z"))
        }
    }

    @Test("with a code that is not known here is told to those who wait for one, and the code itself is not kept")
    func unknown() async throws {
        let hub = try TestHub()
        let before = try await hub.parts.enrollments.create(name: nil, lifetime: .seconds(60), by: .hub).0
        hub.clock.advance(by: .seconds(100))
        let waiting = try await hub.parts.enrollments.create(name: nil, lifetime: .seconds(900), by: .hub).0
        hub.clock.advance(by: .seconds(1))
        await refused(hub, request("ABCD-EFGH-JKMN"))
        await refused(hub, request("no code"))
        hub.clock.advance(by: .seconds(1))
        let after = try await hub.parts.enrollments.create(name: nil, lifetime: .seconds(900), by: .hub).0
        let found = try await attempts(hub, waiting.id)
        #expect(found.count == 2 && found.allSatisfy { $0.enrollmentID == nil && $0.code == "enrollment_code_invalid" })
        #expect(try await attempts(hub, before.id).isEmpty)
        #expect(try await attempts(hub, after.id).isEmpty)
        let bytes = FileManager.default.contents(atPath: hub.directory.file("hub.sqlite-wal")) ?? Data()
        #expect(bytes.range(of: Data("ABCDEFGHJKMN".utf8)) == nil && bytes.range(of: Data("ABCD-EFGH".utf8)) == nil)
    }

    @Test("is bounded, in number and in what the other side says, and goes with its code")
    func bounded() async throws {
        let hub = try TestHub()
        let (enrollment, code) = try await hub.parts.enrollments.create(name: nil, lifetime: .seconds(86_400), by: .hub)
        _ = try await hub.parts.enrollments.redeem(request(code.text), from: "192.0.2.1")
        let many = EnrollmentAttempt.maximumOfUnknownCodes + 20
        for number in 0..<many {
            // Each its own address and time, so that no limit on tries comes first.
            hub.clock.advance(by: .seconds(1))
            await refused(hub, request(code.text, "request-2", host: "\(number)"), from: "192.0.2.\(number)")
            await refused(
                hub,
                request("wrong", host: String(repeating: "h", count: 5000)),
                from: "198.51.100.\(number)"
            )
        }
        let found = try await attempts(hub, enrollment.id)
        #expect(found.count == EnrollmentAttempt.maximumOfOneCode)
        #expect(found.first?.hostName == "\(many - 1)")
        let stored = try await hub.parts.database.read { db in
            try EnrollmentAttemptStore.list(db, of: [enrollment.id])
        }
        #expect(
            stored.count == EnrollmentAttempt.maximumOfOneCode + EnrollmentAttempt.maximumOfUnknownCodes
        )
        #expect(stored.allSatisfy { ($0.hostName?.count ?? 0) <= 100 })
        try await hub.parts.enrollments.delete(enrollment.id, by: .hub)
        let left = try await hub.parts.database.read { db in try EnrollmentAttemptStore.list(db, of: [enrollment.id]) }
        #expect(left.count == EnrollmentAttempt.maximumOfUnknownCodes)
    }

    @Test("by too many tries from one address is not written: that would be a way to fill the disk")
    func limited() async throws {
        let hub = try TestHub()
        let enrollment = try await hub.parts.enrollments.create(name: nil, lifetime: .seconds(900), by: .hub).0
        for _ in 0..<15 { await refused(hub, request("wrong")) }
        #expect(try await attempts(hub, enrollment.id).count == 10)
    }
}
