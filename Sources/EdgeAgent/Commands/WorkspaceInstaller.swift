import WireFormat

/// What puts transferred workspaces in their place. Commands know no more of it.
protocol WorkspaceInstaller: Sendable {
    /// Both may be repeated: what is done already is done.
    func install(_ request: WireInstallWorkspace) async -> WireCommandResult
    func measure(_ request: WireMeasureWorkspace) async -> WireCommandResult
    func discard(_ request: WireDiscardTransfer) async -> WireCommandResult
}
