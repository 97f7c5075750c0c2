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
            var isLimited = false
            // Some come back into the bucket meanwhile.
            for _ in 0..<bound * 4 where !isLimited {
                do {
                    _ = try await closing(hub.connect("edge_nobody"))
                } catch let error as WebSocketError {
                    // On a machine that is very busy a dial can also just take too long.
                    guard let failure = error.httpFailure else { continue }
                    #expect(failure.status == 503 && failure.retryAfter != nil)
                    isLimited = true
                }
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
