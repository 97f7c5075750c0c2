import Synchronization

/// Tells those who follow something of a bot on its node that it may be elsewhere now.
final class BotMoves: Sendable {
    private let listeners = Mutex<[@Sendable (BotID) -> Void]>([])

    /// - Parameter listener: is called from any thread for as long as this lives, and must return at once.
    func listen(_ listener: @escaping @Sendable (BotID) -> Void) { listeners.withLock { $0.append(listener) } }

    func tell(_ bot: BotID) {
        for listener in listeners.withLock({ $0 }) { listener(bot) }
    }
}
