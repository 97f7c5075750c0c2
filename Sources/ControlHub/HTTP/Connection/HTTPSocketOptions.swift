import NIOCore

/// How an HTTP connection hands its answers to the system.
enum HTTPSocketOptions {
    /// Bytes the system may hold that were not sent yet. Without it that is megabytes for a reader that takes nothing, and
    /// whether one takes anything would show too late. What is on its way comes on top, so fast links stay fast.
    static let notSentLowWaterBytes = 64 << 10

    /// Sets a connection up, on its event loop.
    static func apply(to channel: any Channel) throws {
        try channel.syncOptions?.setOption(WebSocketSocketOptions.notSentLowWater, value: notSentLowWaterBytes)
    }
}
