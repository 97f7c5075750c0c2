import Foundation
import Testing
import WebSocketKitLite
import WireFormat

@testable import ControlHub

/// Strangers at the nodes' endpoint, over real connections.
@Suite("A stranger at the nodes' endpoint", .timeLimit(.minutes(2)))
struct StrangerConnectionTests {
    private func closing(_ connection: WebSocketConnection) async -> CloseStatus? {
        while let message = try? await connection.receive() { _ = message }
        return await connection.closeStatus
    }

    /// Whether a dial with an unknown token is answered by HTTP. On a machine that is very busy one can also just take too long.
    private func isRefused(_ hub: RunningHub) async throws -> Bool {
        do {
            _ = try await closing(hub.connect("edge_nobody"))
            return false
        } catch let error as WebSocketError {
            guard let failure = error.httpFailure else { return false }
            #expect(failure.status == 503 && failure.retryAfter != nil)
            return true
        }
    }

    @Test("is closed with 4401 without having said anything, and long before Hello is due")
    func atOnce() async throws {
        try await RunningHub.run { hub in
            let begin = ContinuousClock.now
            let status = try #require(await closing(try await hub.connect("edge_nobody")))
            #expect(status.initiator == .remote && status.code.rawValue == 4401 && status.reason == "unknown token")
            #expect(ContinuousClock.now - begin < .seconds(5))
        }
    }

    @Test("beyond the bounds is answered 503, and a node with a good token gets in all the same, without being charged")
    func limited() async throws {
        try await RunningHub.run { hub in
            let node = try await hub.node()
            let bound = FailureLimiter.Kind.nodeToken.bounds.total.capacity
            // Many at a time: one after the other, too many would be back in the bucket on a busy machine.
            let isLimited = try await withThrowingTaskGroup(of: Bool.self) { group in
                for number in 0..<bound * 4 {
                    if number >= 64, try await group.next() == true {
                        group.cancelAll()
                        return true
                    }
                    group.addTask { try await isRefused(hub) }
                }
                return try await group.reduce(false) { $0 || $1 }
            }
            #expect(isLimited)
            for _ in 0..<5 {
                let ending = try await hub.session(node.token) { event, _ in
                    if case .welcomed = event { false } else { true }
                }
                #expect(ending.closeCode == .normal)
            }
        }
    }
}
