import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import kr.dogfoot.hwplib.object.HWPFile;
import kr.dogfoot.hwplib.object.bodytext.Section;
import kr.dogfoot.hwplib.object.bodytext.paragraph.Paragraph;
import kr.dogfoot.hwplib.reader.HWPReader;
import kr.dogfoot.hwplib.tool.blankfilemaker.BlankFileMaker;
import kr.dogfoot.hwplib.tool.textextractor.TextExtractMethod;
import kr.dogfoot.hwplib.tool.textextractor.TextExtractor;
import kr.dogfoot.hwplib.writer.HWPWriter;

/** MakeHwp LINES HWP TEXT: writes the lines as paragraphs of a HWP 5 file, and what hwplib reads. */
public class MakeHwp {
    public static void main(String[] args) throws Exception {
        List<String> lines = Files.readAllLines(Path.of(args[0]), StandardCharsets.UTF_8);
        HWPFile file = BlankFileMaker.make();
        Section section = file.getBodyText().getSectionList().get(0);
        for (int i = 0; i < lines.size(); i++) {
            Paragraph paragraph = section.addNewParagraph();
            paragraph.getHeader().setLastInList(i + 1 == lines.size());
            paragraph.getHeader().setParaShapeId(3);
            paragraph.createText();
            paragraph.getText().addString(lines.get(i));
            paragraph.createCharShape();
            paragraph.getCharShape().addParaCharShape(0, 1);
            paragraph.createLineSeg();
        }
        HWPWriter.toFile(file, args[1]);
        String read = TextExtractor.extract(
                HWPReader.fromFile(args[1]), TextExtractMethod.InsertControlTextBetweenParagraphText);
        Files.writeString(Path.of(args[2]), read, StandardCharsets.UTF_8);
    }
}
