import WireFormat

/// What carries out commands. Link knows no more of it.
protocol CommandHandler: Sendable {
    /// Carries out the command, or answers from its receipt; a failure is a result, too.
    ///
    /// Cancelling the wait does not cancel the command: it goes on, and its result can be asked for again.
    ///
    /// - Throws: `CancellationError` only.
    func handle(_ command: WireCommand) async throws -> WireCommandResult

    /// The hub has the result of this command and will not ask for it again.
    func confirm(_ commandID: String) async
}
