import Foundation
import Testing

@testable import ControlHub

@Suite("The page")
struct DashboardFilesTests {
    @Test("is served whole: every file of its folder, each as it is there")
    func whole() throws {
        let folder = URL(filePath: #filePath).deletingLastPathComponent()
            .appending(path: "../../../Sources/ControlHub/HTTP/Dashboard/Page").standardizedFileURL
        let names = try #require(FileManager.default.enumerator(atPath: folder.path)).compactMap { $0 as? String }
        let files = names.filter { $0.contains(".") }
        #expect(Set(files) == Set(DashboardFiles.all.keys))
        for (name, content) in DashboardFiles.all {
            #expect(try Array(Data(contentsOf: folder.appending(path: name))) == content, "\(name)")
        }
    }
}
