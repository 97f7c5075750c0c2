import ArgumentParser

@main
struct HubCommand: AsyncParsableCommand {
    func run() async throws {}
}
