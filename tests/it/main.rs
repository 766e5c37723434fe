mod execute;
