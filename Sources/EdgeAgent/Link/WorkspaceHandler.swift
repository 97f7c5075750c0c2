import WireFormat

/// What serves the hub's streams about workspaces. Link knows no more of it.
protocol WorkspaceHandler: Sendable {
    /// Serves one stream of kind `workspace`, `syncSource` or `syncTarget` to its end; whatever goes wrong is told on it.
    func serve(_ header: WireStreamHeader, on stream: SessionStream) async
}
