import Foundation
import SwiftProtobuf
import Synchronization
import Testing
import WireFormat

@testable import ControlHub

@Suite("A workspace goes from one node to another")
struct WorkspaceTransfersTests {
    /// A source that resets its stream, and a target that fails as agents do whose source says no more.
    private static func channel(resetting code: StreamResetCode) -> FakeAgentChannel {
        let channel = FakeAgentChannel()
        let (ends, end) = AsyncStream<Void>.makeStream()
        let isTold = Mutex(false)
        channel.stream.withLock {
            $0 = { header in
                guard case .syncTarget = header.kind else {
                    return AgentStream(
                        send: { _ in },
                        receive: { throw WireFormatError(.streamReset, "stream 1 was reset", resetCode: code) },
                        finish: {},
                        reset: { _, _ in }
                    )
                }
                return AgentStream(
                    send: { _ in },
                    receive: {
                        for await _ in ends { break }
                        let wasTold = isTold.withLock { told in
                            defer { told = true }
                            return told
                        }
                        guard !wasTold else { return nil }
                        let failure = WireSyncFailure.with {
                            $0.code = "bad_data"
                            $0.message = "the source ended before its list was complete"
                        }
                        return try WireSyncMessage.with { $0.failure = failure }.serializedBytes()
                    },
                    finish: { end.yield() },
                    reset: { _, _ in end.finish() }
                )
            }
        }
        return channel
    }

    @Test(
        "A source that refuses is why a transfer failed, not what the target makes of its silence",
        arguments: [
            (.refused, .hubBusy), (.unsupported, .agentTooOld), (.cancelled, .transferFailed),
        ] as [(StreamResetCode, HubError.Code)]
    )
    func refused(code: StreamResetCode, error: HubError.Code) async {
        let transfers = WorkspaceTransfers(channel: Self.channel(resetting: code))
        let (source, target) = (NodeID(rawValue: "source"), NodeID(rawValue: "target"))
        await expectHubError(error) {
            _ = try await transfers.run(
                WorkspaceTransfers.Request(bot: BotID(rawValue: "b"), source: source, target: target, transfer: "t")
            )
        }
    }
}
